"""Composed pictures."""

import numpy as np
import pytest
from PIL import Image

from kennel.errors import RunError
from kennel.sampling.pictures import Picture, composed, under, with_captions
from kennel.sampling.sample_files import seeds_and_classes


def cells(count: int, channels: int = 3, side: int = 8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, channels, side, side), np.uint8)


def test_one_image_is_enlarged_without_blur_and_without_a_border():
    images = cells(1)
    picture = composed(images)
    assert picture.shape == (256, 256, 3)
    assert np.array_equal(picture[::32, ::32], images[0].transpose(1, 2, 0))
    assert np.array_equal(picture, picture[::32, ::32].repeat(32, axis=0).repeat(32, axis=1))
    assert composed(cells(1, channels=1)).shape == (256, 256)


@pytest.mark.parametrize(("count", "columns"), [(4, None), (2, 1), (3, 8), (100, None)])
def test_a_grid_has_at_least_256_pixels(count, columns):
    assert max(composed(cells(count), columns).shape[:2]) >= 256


def test_large_images_keep_their_size():
    assert composed(cells(1, side=300)).shape == (300, 300, 3)


def test_captions_are_under_the_pictures_and_differ():
    images = cells(2, channels=1, side=8)
    captioned = with_captions(images, [("3",), ("17",)])
    assert captioned.shape[:2] == (2, 1)
    assert captioned.shape[3] == 96
    assert np.array_equal(captioned[:, :, :96:12, ::12], images)
    strips = captioned[:, 0, 96:]
    assert strips.min() < 100
    assert strips.max() == 255
    assert not np.array_equal(*strips)


def test_a_long_caption_is_cut():
    picture = np.zeros((10, 100, 3), np.uint8)
    text = under(picture, "a name that is much longer than the picture is wide")[10:]
    assert text[:, 0].min() == 255
    assert text[:, -1].min() == 255
    assert text.min() < 100


def test_a_picture_is_saved_with_its_text_as_a_png_only(tmp_path):
    picture = Picture(composed(cells(4)), {"Description": "made by a GAN"})
    with Image.open(picture.save(tmp_path / "a.png")) as image:
        assert image.text["Description"] == "made by a GAN"
        assert np.array_equal(np.asarray(image), picture.pixels)
    with pytest.raises(RunError, match=r"ends in \.png"):
        picture.save(tmp_path / "a.jpg")
    assert picture._repr_png_().startswith(b"\x89PNG")


def test_the_text_of_a_sheet_tells_classes_from_seeds():
    assert seeds_and_classes((3, 4), None, ()) == [("3",), ("4",)]
    assert seeds_and_classes((3, 4), (1, 0), ("beagle", "7")) == [("3", "class 7"), ("4", "beagle")]
    assert seeds_and_classes((3,), (2,), ()) == [("3", "class 2")]
