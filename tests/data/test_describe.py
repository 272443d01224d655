from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from kennel.data.describe import quartiles, random_images, write_figures
from kennel.data.prepare.pipeline import prepare
from kennel.data.sources.options import PrepareOptions, parse_aspect


def test_quartiles_are_those_of_the_counts() -> None:
    assert quartiles([1, 2, 3, 4, 5]) == (1, 2, 3, 4, 5)
    assert quartiles([7]) == (7, 7, 7, 7, 7)


def test_the_figures_of_a_small_set_are_written(
    tmp_path: Path, picture: Callable[..., bytes], as_folder: Callable[..., Path]
) -> None:
    folder = as_folder({f"{n % 3}/{n}.png": picture(n, 20 + 3 * n, 30) for n in range(12)})
    packed = prepare(folder, tmp_path / "set", PrepareOptions(aspect=parse_aspect("0.8:1.25"), size=16))
    written = write_figures(packed, tmp_path / "out")
    assert [path.name for path in written] == [
        *("grid_3x3.png", "grid_10x10.png", "aspect_ratios.png", "classes.png", "dropped.png")
    ]
    for path in written:
        with Image.open(path) as image:
            assert min(image.size) > 30
    with Image.open(written[0]) as image:
        assert image.text["Dataset fingerprint"] == packed.fingerprint  # type: ignore[attr-defined]
    assert not list((tmp_path / "out").glob(".*"))


def test_a_flat_set_of_one_image_can_be_shown(
    tmp_path: Path, picture: Callable[..., bytes], as_folder: Callable[..., Path]
) -> None:
    packed = prepare(as_folder({"a.png": picture(1)}), tmp_path / "set")
    names = [path.name for path in write_figures(packed, tmp_path / "out")]
    assert names == ["grid_3x3.png", "grid_10x10.png", "aspect_ratios.png"]


def test_random_images_are_drawn_without_repetition(tmp_path: Path) -> None:
    packed = prepare("digits", tmp_path / "set", PrepareOptions(limit=50))
    images = random_images(packed, 100, seed=3)
    assert images.shape == (50, 1, 8, 8)
    assert np.array_equal(np.sort(images.sum(axis=(1, 2, 3))), np.sort(packed.images.sum(axis=(1, 2, 3))))
