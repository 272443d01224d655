"""A copy is found under shifts and the mirror, and nothing else is taken for one."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from kennel.evaluation.metrics._alignment import Alignment, align, average_cells, cell_size


def scene(seed: int, side: int = 32, channels: int = 3) -> np.ndarray:
    """A smooth random picture (C, side, side): coarse noise, enlarged."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (6, 6, 3), dtype=np.uint8)
    wide = Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(wide).transpose(2, 0, 1)[:channels].copy()


def moved(image: np.ndarray, right: int, down: int) -> np.ndarray:
    """The image moved, what comes in from outside being noise."""
    _, height, width = image.shape
    canvas = np.random.default_rng(9).integers(0, 256, image.shape, dtype=np.uint8)
    canvas[:, max(down, 0) : height + min(down, 0), max(right, 0) : width + min(right, 0)] = image[
        :, max(-down, 0) : height + min(-down, 0), max(-right, 0) : width + min(-right, 0)
    ]
    return canvas


def plain_best(image: np.ndarray, candidate: np.ndarray, reach: int) -> float:
    """The least mean square over all shifts and the mirror, by loops."""
    least = np.inf
    height, width = image.shape[1:]
    for turned in (candidate, candidate[:, :, ::-1]):
        for down in range(-reach, reach + 1):
            for right in range(-reach, reach + 1):
                inside = image[:, max(down, 0) : height + min(down, 0), max(right, 0) : width + min(right, 0)]
                other = turned[
                    :, max(-down, 0) : height + min(-down, 0), max(-right, 0) : width + min(-right, 0)
                ]
                least = min(least, ((inside.astype(float) - other) ** 2).mean())
    return float(least)


@settings(max_examples=25, deadline=None)
@given(right=st.integers(-4, 4), down=st.integers(-4, 4), flipped=st.booleans(), seed=st.integers(0, 50))
def test_a_moved_and_mirrored_copy_is_found_with_its_transformation(
    right: int, down: int, flipped: bool, seed: int
) -> None:
    source = scene(seed)
    copy = moved(source[:, :, ::-1] if flipped else source, right, down)
    found = align(copy, np.stack([scene(seed + 100), source, scene(seed + 200)]))
    assert (found.candidate, found.flipped, found.right, found.down) == (1, flipped, right, down)
    assert found.rms == 0
    assert found.matches


def test_the_transform_gives_what_trying_every_shift_gives() -> None:
    random = np.random.default_rng(1)
    image, candidate = random.integers(0, 256, (2, 3, 24, 16), dtype=np.uint8)
    found = align(image, candidate[None])
    assert found.rms**2 == pytest.approx(plain_best(image, candidate, 2), rel=1e-9)


def test_a_recompressed_copy_is_the_same_picture_and_another_one_is_not() -> None:
    source = scene(3)
    file = io.BytesIO()
    Image.fromarray(source.transpose(1, 2, 0)).save(file, "JPEG", quality=50)
    copy = np.asarray(Image.open(file)).transpose(2, 0, 1)
    found = align(copy, source[None])
    assert 0 < found.unexplained < 0.1
    assert found.words() == "same picture"
    other = align(copy, np.stack([scene(4), scene(5)]))
    assert not other.matches
    assert other.words() == "another picture"


def test_the_words_name_the_transformation() -> None:
    assert Alignment(0, True, 2, -1, 3.0, 0.01).words() == "same picture, flipped, shifted by (2, -1)"
    assert Alignment(0, False, 0, 0, 0.0, 0.0).words() == "same picture"


def test_a_picture_without_contrast_is_matched_only_exactly() -> None:
    flat = np.full((1, 16, 16), 100, np.uint8)
    exact = align(flat, flat[None])
    assert exact.matches
    assert (exact.right, exact.down, exact.flipped) == (0, 0, False), "the least moved of equal fits"
    assert not align(flat, flat[None] + np.uint8(1)).matches


def test_grey_is_compared_with_colour() -> None:
    grey = scene(6, channels=1)
    assert align(grey, np.repeat(grey, 3, 0)[None]).matches
    assert align(np.repeat(grey, 3, 0), grey[None]).matches


def test_large_images_are_averaged_by_whole_cells() -> None:
    assert [cell_size(side) for side in (8, 64, 127, 128, 256)] == [1, 1, 1, 2, 4]
    pixels = np.arange(32, dtype=np.uint8).reshape(1, 1, 4, 8)
    np.testing.assert_array_equal(average_cells(pixels, 2)[0, 0], [[4, 6, 8, 10], [20, 22, 24, 26]])
    assert average_cells(pixels, 1) is pixels
    assert Alignment(0, False, 1, -2, 0.0, 0.0).scaled(4).words() == "same picture, shifted by (4, -8)"
