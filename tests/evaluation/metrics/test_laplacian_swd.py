import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given, settings
from hypothesis import strategies as st

from kennel.errors import JudgementError
from kennel.evaluation.metrics import laplacian_swd as swd
from kennel.evaluation.metrics.laplacian_swd import (
    downsample,
    laplacian_distance,
    laplacian_pyramid,
    upsample,
)
from pictures import Pictures

BINOMIAL = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1]) / 256


def noise(count: int, size: int, seed: int, channels: int = 3, smooth: float = 0.0) -> Pictures:
    pixels = np.random.default_rng(seed).normal(0, 1, (count, channels, size, size))
    if smooth:
        pixels = scipy.ndimage.gaussian_filter(pixels, (0, 0, smooth, smooth))
        pixels /= pixels.std()
    return Pictures(np.clip(128 + 40 * pixels, 0, 255).astype(np.uint8))


def test_shrinking_and_enlarging_are_the_mirrored_convolutions() -> None:
    images = noise(3, 16, 0).pixels.astype(np.float32)
    smoothed = scipy.ndimage.convolve(images.astype(float), BINOMIAL[None, None], mode="mirror")
    np.testing.assert_allclose(downsample(images), smoothed[:, :, ::2, ::2], rtol=1e-6)
    spread = np.zeros((3, 3, 32, 32))
    spread[:, :, ::2, ::2] = images
    expected = scipy.ndimage.convolve(spread, 4 * BINOMIAL[None, None], mode="mirror")
    np.testing.assert_allclose(upsample(images), expected, rtol=1e-6)


def test_a_pyramid_adds_up_to_the_image_and_a_level_image_has_only_a_lowest_level() -> None:
    images = noise(2, 64, 1, 1).pixels.astype(np.float32)
    fine, middle, low = laplacian_pyramid(images, 3)
    assert [part.shape[-1] for part in (fine, middle, low)] == [64, 32, 16]
    np.testing.assert_allclose(upsample(upsample(low) + middle) + fine, images, atol=1e-3)
    still = laplacian_pyramid(np.full((1, 1, 32, 32), 77, np.float32), 2)
    assert np.abs(still[0]).max() == 0
    np.testing.assert_array_equal(still[1], np.full((1, 1, 16, 16), 77))


@pytest.mark.parametrize(
    ("size", "channels", "sizes"), [(16, 1, (16,)), (32, 3, (32, 16)), (128, 1, (128, 64, 32, 16))]
)
def test_a_set_against_itself_is_0_at_every_level(size: int, channels: int, sizes: tuple[int, ...]) -> None:
    images = noise(10, size, 2, channels)
    found = laplacian_distance(images, images, patches=4)
    assert found.sizes == sizes
    assert found.distances == (0,) * len(sizes)
    assert (found.mean, found.images, found.patches) == (0, 10, 4)


def test_it_is_the_plain_sum_over_all_patches_of_16_pixel_images() -> None:
    one, other = noise(3, 16, 3, 2), noise(3, 16, 4, 2, smooth=1.0)
    found = laplacian_distance(one, other, patches=5, repeats=2, directions=9, seed=6)
    corners = np.random.default_rng([6, 16]).integers(0, 10, (3, 5, 2))
    flat = []
    for side in (one, other):
        patches = np.array(
            [
                side.pixels[image, :, row : row + 7, column : column + 7]
                for image in range(3)
                for row, column in corners[image]
            ],
            float,
        )
        patches = (patches - patches.mean((0, 2, 3), keepdims=True)) / patches.std((0, 2, 3), keepdims=True)
        flat.append(patches.reshape(15, 98))
    random = np.random.default_rng([6, 0])
    distances = []
    for _ in range(2):
        for direction in random.normal(size=(9, 98)):
            first, second = (np.sort(side @ direction / np.linalg.norm(direction)) for side in flat)
            distances.append(np.abs(first - second).mean())
    assert found.mean == pytest.approx(1000 * np.mean(distances), rel=1e-5)


def test_blur_is_seen_at_the_fine_level_more_than_at_the_lowest() -> None:
    sharp, blurred = noise(80, 64, 5, 1, smooth=0.7), noise(80, 64, 6, 1, smooth=2.0)
    found = laplacian_distance(blurred, sharp, patches=32)
    own = laplacian_distance(noise(80, 64, 7, 1, smooth=0.7), sharp, patches=32)
    excess = np.array(found.distances) - own.distances
    assert excess[0] > 2 * excess[1] > 4 * max(excess[2], 0)
    assert excess[0] > 3 * own.distances[0]
    assert own.distances == pytest.approx((own.mean,) * 3, rel=0.1)
    assert found.mean == pytest.approx(np.mean(found.distances))


def test_two_samples_of_one_distribution_come_nearer_with_their_count() -> None:
    few = laplacian_distance(noise(40, 16, 8, 1), noise(40, 16, 9, 1), patches=4).mean
    many = laplacian_distance(noise(640, 16, 8, 1), noise(640, 16, 9, 1), patches=4).mean
    assert few / many == pytest.approx(4, rel=0.3)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 99), batch=st.integers(1, 40), width=st.integers(1, 20))
def test_sides_batches_and_blocks_change_nothing(seed: int, batch: int, width: int) -> None:
    one, other = noise(21, 32, seed, 1), noise(30, 32, seed + 1, 1, smooth=1.0)
    found = laplacian_distance(one, other, patches=3, repeats=2, directions=10, seed=seed)
    assert found.images == 21
    again = laplacian_distance(other, one, patches=3, repeats=2, directions=10, seed=seed)
    assert again.distances == pytest.approx(found.distances, rel=1e-5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(swd, "BATCH", batch)
        patch.setattr(swd, "BLOCK", 7 * batch)
        patch.setattr(swd, "DIRECTION_BATCH", width)
        parts = laplacian_distance(one, other, patches=3, repeats=2, directions=10, seed=seed)
    assert parts.distances == pytest.approx(found.distances, rel=1e-5)


def test_the_larger_set_is_drawn_from_at_random_and_not_from_its_beginning() -> None:
    bright = np.concatenate([noise(50, 16, 10, 1).pixels // 4, noise(50, 16, 11, 1).pixels])
    half = Pictures(np.random.default_rng(12).permutation(bright)[:50])
    assert laplacian_distance(half, Pictures(bright), patches=8).mean < 200
    assert laplacian_distance(half, Pictures(bright[50:]), patches=8).mean > 400


def test_more_patches_than_memory_allows_are_cut_and_recorded() -> None:
    images = noise(30, 16, 13, 1)
    assert laplacian_distance(images, images, descriptors=100).patches == 3
    found = laplacian_distance(images, images, images=10, patches=2, descriptors=100)
    assert (found.images, found.patches) == (10, 2)
    assert laplacian_distance(images, images, descriptors=20).images == 20


def test_images_of_one_colour_are_measured() -> None:
    flat = Pictures(np.full((20, 3, 32, 32), 90, np.uint8))
    assert laplacian_distance(flat, flat, patches=4).mean == 0
    found = laplacian_distance(flat, noise(20, 32, 14), patches=16)
    # All patches at 0 against patches of deviation 1: the mean of a projection's length.
    assert 300 < min(found.distances) <= max(found.distances) < 1500


def test_what_cannot_be_measured_is_refused_in_a_sentence() -> None:
    good = noise(5, 32, 0)
    for size in (8, 28, 48):
        other = noise(5, size, 0)
        with pytest.raises(JudgementError, match=rf"16, 32, 64, .* these are {size} x {size}"):
            laplacian_distance(other, other)
    wide = Pictures(np.zeros((5, 3, 16, 32), np.uint8))
    with pytest.raises(JudgementError, match="16 x 32"):
        laplacian_distance(wide, wide)
    with pytest.raises(JudgementError, match="prepare both sides in the same way"):
        laplacian_distance(good, noise(5, 32, 0, 1))
    with pytest.raises(JudgementError, match="at least 2 images"):
        laplacian_distance(good, noise(1, 32, 0))
    with pytest.raises(JudgementError, match="too few"):
        laplacian_distance(good, good, patches=0)
