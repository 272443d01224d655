"""Batched crops are the same pixels as one crop at a time, resized by the reference."""

import pytest
import torch
from torch.nn.functional import interpolate

from kennel.data.augment import horizontal_flip, random_boxes, random_resized_crop, resized_crop
from kennel.rng import Draws

IMAGES = torch.rand(6, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1


def random(seed: int = 0) -> Draws:
    return Draws(torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("scale", [(0.8, 1.0), (0.05, 0.3)])
def test_crops_equal_torchs_antialiased_interpolation_of_each_crop(scale):
    boxes = random_boxes(6, (64, 64), scale, (3 / 4, 4 / 3), random())
    ours = resized_crop(IMAGES, boxes)
    for image, box, result in zip(IMAGES, boxes.int().tolist(), ours, strict=True):
        top, left, height, width = box
        crop = image[None, :, top : top + height, left : left + width]
        reference = interpolate(crop, (64, 64), mode="bilinear", align_corners=False, antialias=True)
        assert torch.allclose(result, reference[0], atol=2e-6)


def test_crops_of_oblong_images_equal_the_reference_too():
    images = IMAGES[:, :, :40]
    boxes = random_boxes(6, (40, 64), (0.3, 1.0), (3 / 4, 4 / 3), random())
    for image, box, result in zip(images, boxes.int().tolist(), resized_crop(images, boxes), strict=True):
        top, left, height, width = box
        crop = image[None, :, top : top + height, left : left + width]
        reference = interpolate(crop, (40, 64), mode="bilinear", align_corners=False, antialias=True)
        # float32 places of up to 64 are off by half of 7.6e-6, and with them the weights.
        assert torch.allclose(result, reference[0], atol=7.6e-6)


def test_a_crop_is_the_same_in_either_layout_of_memory():
    boxes = random_boxes(6, (64, 64), (0.3, 1.0), (3 / 4, 4 / 3), random())
    last = IMAGES.contiguous(memory_format=torch.channels_last)
    assert torch.equal(resized_crop(last, boxes), resized_crop(IMAGES, boxes))


def test_a_crop_of_everything_changes_nothing():
    whole = torch.tensor([[0.0, 0.0, 64.0, 64.0]]).expand(6, 4)
    assert torch.allclose(resized_crop(IMAGES, whole), IMAGES, atol=1e-6)


def test_a_crop_stays_within_the_range_of_its_image():
    cropped = random_resized_crop(IMAGES, (0.1, 1.0), (0.5, 2.0), random())
    assert cropped.abs().max() <= 1 + 1e-6


def test_boxes_lie_inside_and_have_the_areas_and_ratios_asked_for():
    boxes = random_boxes(5000, (64, 64), (0.8, 1.0), (3 / 4, 4 / 3), random())
    top, left, height, width = boxes.unbind(1)
    assert torch.all((top >= 0) & (left >= 0) & (top + height <= 64) & (left + width <= 64))
    assert torch.equal(boxes, boxes.round())
    area = height * width / 64**2
    # Whole pixels move the area by up to half a pixel a side.
    assert area.min() > 0.8 - 64 / 64**2
    assert area.mean() == pytest.approx(0.89, abs=0.02)
    ratio = width / height
    assert ratio.min() > 3 / 4 * 0.97
    assert ratio.max() < 4 / 3 * 1.03


def test_where_no_box_fits_the_central_one_is_taken():
    # A ratio of 4 at the full area never fits a square: the largest central box of ratio 4 does.
    boxes = random_boxes(3, (64, 64), (1.0, 1.0), (4.0, 4.0), random())
    assert boxes.tolist() == [[24.0, 0.0, 16.0, 64.0]] * 3


def test_flips_mirror_their_share_and_leave_the_rest():
    images = random().uniform(4000, 1, 2, 2)
    flipped = horizontal_flip(images, 0.25, random(1))
    mirrored = (flipped == images.flip(3)).flatten(1).all(1)
    same = (flipped == images).flatten(1).all(1)
    assert torch.all(mirrored | same)
    # Five standard deviations of a binomial share over 4,000 draws.
    assert mirrored.float().mean() == pytest.approx(0.25, abs=5 * (0.25 * 0.75 / 4000) ** 0.5)
