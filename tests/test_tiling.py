"""Tiling and PNG text."""

import numpy as np
from PIL import Image

from kennel.images import save_png, tile


def test_tiles_stand_row_by_row_with_white_between_them():
    images = np.stack([np.full((3, 64, 64), value, np.uint8) for value in (10, 20, 30)])
    picture = tile(images, columns=2, padding=2)
    assert picture.shape == (2 * 66 + 2, 2 * 66 + 2, 3)
    assert picture[2, 2, 0] == 10
    assert picture[2, 68, 0] == 20
    assert picture[68, 2, 0] == 30
    assert picture[68, 68, 0] == 255
    assert picture[0, 0, 0] == 255


def test_small_grey_images_are_enlarged_without_interpolation():
    images = np.arange(64, dtype=np.uint8).reshape(1, 1, 8, 8)
    picture = tile(images, padding=0)
    assert picture.shape == (64, 64)
    assert np.array_equal(picture[::8, ::8], images[0, 0])


def test_a_png_keeps_its_text_and_its_pixels(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    save_png(tmp_path / "a.png", image, {"Software": "kennel", "name": "狗"})
    with Image.open(tmp_path / "a.png") as read:
        assert read.text == {"Software": "kennel", "name": "狗"}
        assert np.array_equal(np.asarray(read), image)
