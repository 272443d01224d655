"""Every operation gives the known answer, and lets gradients through, twice."""

import math

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from kennel.techniques import _image_ops

IMAGES = torch.randn(3, 3, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
WHICH = torch.tensor([True, False, True])
QUARTERS = torch.tensor([1, 2, 3])
DOWN, RIGHT = torch.tensor([0, 2, -1]), torch.tensor([1, -2, 7])
ANGLES = torch.tensor([0.3, -1.0, 2.0], dtype=torch.float64)
FACTORS = torch.tensor([0.5, 1.0, 1.7], dtype=torch.float64)


def warps(x=0.0, y=0.0, angle=0.0, scale=1.0, count=1):
    """The maps backward, from the result to the image."""

    def of(value):
        return torch.full((count,), float(value), dtype=torch.float64)

    turn_back = _image_ops.rotation_matrices(of(-angle)) @ _image_ops.translation_matrices(of(-x), of(-y))
    return (_image_ops.scale_matrices(of(1 / scale), of(1 / scale)) @ turn_back)[:, :2]


OPERATIONS = {
    "mirrored": lambda images: _image_ops.hflip(images, WHICH),
    "turned": lambda images: _image_ops.rotate_quarters(images, QUARTERS),
    "shifted, zero": lambda images: _image_ops.translate(images, DOWN, RIGHT, "zero"),
    "shifted, reflect": lambda images: _image_ops.translate(images, DOWN, RIGHT, "reflect"),
    "warped": lambda images: _image_ops.warp_affine(images, warps(0.3, -1.4, 0.7, 0.8, 3)),
    "cut out": lambda images: _image_ops.cutout(images, DOWN.abs(), RIGHT.abs(), 2),
    "brightened": lambda images: _image_ops.adjust_brightness(images, ANGLES),
    "saturated": lambda images: _image_ops.adjust_saturation(images, FACTORS),
    "contrasted": lambda images: _image_ops.adjust_contrast(images, FACTORS),
    "luma flip": lambda images: _image_ops.mix_channels(images, _image_ops.luma_flip_matrices(WHICH)),
    "hue": lambda images: _image_ops.mix_channels(images, _image_ops.hue_matrices(ANGLES)),
    "saturation": lambda images: _image_ops.mix_channels(images, _image_ops.saturation_matrices(FACTORS)),
}


@pytest.mark.parametrize("name", list(OPERATIONS))
def test_gradients_agree_with_finite_differences_once_and_twice(name):
    images = IMAGES.clone().requires_grad_()
    operation = OPERATIONS[name]
    assert gradcheck(operation, images)
    # The operations are linear (affine) in the images: a square makes the second derivative something.
    assert gradgradcheck(lambda images: operation(images.square()), images)


def test_only_the_chosen_images_are_mirrored():
    result = _image_ops.hflip(IMAGES, WHICH)
    assert torch.equal(result[0], IMAGES[0].flip(2))
    assert torch.equal(result[1], IMAGES[1])


def test_a_quarter_turn_four_times_is_the_identity_and_once_is_counter_clockwise():
    corner = torch.zeros(1, 1, 3, 3)
    corner[0, 0, 0, 2] = 1.0  # top right
    once = _image_ops.rotate_quarters(corner, torch.tensor([1]))
    assert once[0, 0, 0, 0] == 1.0  # top left
    assert once.sum() == 1.0
    result = IMAGES
    for _ in range(4):
        result = _image_ops.rotate_quarters(result, torch.ones(3, dtype=torch.int64))
    assert torch.equal(result, IMAGES)


@pytest.mark.parametrize("padding", ["zero", "reflect"])
def test_a_shift_moves_a_single_bright_pixel(padding):
    point = torch.zeros(2, 1, 5, 7)
    point[:, 0, 2, 3] = 1.0
    result = _image_ops.translate(point, torch.tensor([1, -1]), torch.tensor([2, -2]), padding)
    assert result[0].nonzero().tolist() == [[0, 3, 5]]
    assert result[1].nonzero().tolist() == [[0, 1, 1]]


def test_what_comes_in_from_outside_is_grey_or_the_mirror_image():
    row = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 1, 1, 4)
    none, two = torch.tensor([0]), torch.tensor([2])
    assert _image_ops.translate(row, none, two, "zero").flatten().tolist() == [0.0, 0.0, 1.0, 2.0]
    assert _image_ops.translate(row, none, two, "reflect").flatten().tolist() == [3.0, 2.0, 1.0, 2.0]
    assert _image_ops.translate(row, none, -two, "reflect").flatten().tolist() == [3.0, 4.0, 3.0, 2.0]
    far = torch.tensor([7])  # further than the image is wide: the mirror image goes on periodically
    assert _image_ops.translate(row, none, far, "reflect").flatten().tolist() == [2.0, 1.0, 2.0, 3.0]
    assert _image_ops.translate(row, none, far, "zero").flatten().tolist() == [0.0, 0.0, 0.0, 0.0]


def test_an_image_of_one_pixel_reflects_to_itself():
    pixel = torch.full((1, 1, 1, 1), 0.7)
    assert (
        _image_ops.translate(pixel, torch.tensor([3]), torch.tensor([-2]), "reflect").item() == pixel.item()
    )


def test_a_warp_by_the_identity_changes_nothing():
    assert torch.equal(_image_ops.warp_affine(IMAGES, warps(count=3)), IMAGES)


def test_a_warp_by_whole_pixels_is_a_shift():
    result = _image_ops.warp_affine(IMAGES, warps(x=2, y=-1, count=3))
    two, up = torch.full((3,), 2), torch.full((3,), -1)
    assert torch.allclose(result, _image_ops.translate(IMAGES, up, two, "reflect"), atol=1e-12)


def test_a_warp_by_half_a_pixel_is_the_mean_of_neighbours():
    row = torch.tensor([1.0, 2.0, 4.0, 8.0], dtype=torch.float64).view(1, 1, 1, 4)
    result = _image_ops.warp_affine(row, warps(x=0.5))
    assert result.flatten().tolist() == [1.5, 1.5, 3.0, 6.0]


def test_a_warp_by_a_right_angle_is_a_quarter_turn():
    # x runs right and y down, so that from x towards y is clockwise: three quarters the other way.
    result = _image_ops.warp_affine(IMAGES, warps(angle=math.pi / 2, count=3))
    expected = _image_ops.rotate_quarters(IMAGES, torch.full((3,), 3))
    assert torch.allclose(result, expected, atol=1e-12)


def test_a_warp_agrees_with_torchs_grid_sampling():
    matrices = warps(0.7, -1.3, 0.4, 1.3, 3)
    height, width = IMAGES.shape[2:]
    ys, xs = torch.meshgrid(
        torch.arange(height, dtype=torch.float64) - (height - 1) / 2,
        torch.arange(width, dtype=torch.float64) - (width - 1) / 2,
        indexing="ij",
    )
    places = torch.einsum("bij,jhw->bhwi", matrices, torch.stack([xs, ys, torch.ones_like(xs)]))
    places = places / torch.tensor([(width - 1) / 2, (height - 1) / 2], dtype=torch.float64)
    expected = torch.nn.functional.grid_sample(
        IMAGES, places, mode="bilinear", padding_mode="reflection", align_corners=True
    )
    assert torch.allclose(_image_ops.warp_affine(IMAGES, matrices), expected, atol=1e-12)


def test_scaling_by_two_shows_the_middle_twice_as_large():
    image = torch.zeros(1, 1, 5, 5, dtype=torch.float64)
    image[0, 0, 2, 3] = 1.0  # one pixel right of the centre
    result = _image_ops.warp_affine(image, warps(scale=2))
    assert result[0, 0, 2].tolist() == [0.0, 0.0, 0.0, 0.5, 1.0]


def test_a_hole_is_square_and_ends_at_the_border():
    images = torch.ones(3, 1, 4, 4)
    result = _image_ops.cutout(images, torch.tensor([2, 0, 4]), torch.tensor([2, 0, 4]), 2)
    holes = [(image == 0).nonzero()[:, 1:].tolist() for image in result]
    assert holes == [[[1, 1], [1, 2], [2, 1], [2, 2]], [[0, 0]], [[3, 3]]]


def test_contrast_keeps_the_mean_of_an_image_and_stretches_the_rest():
    result = _image_ops.adjust_contrast(IMAGES, FACTORS)
    assert torch.allclose(result.mean((1, 2, 3)), IMAGES.mean((1, 2, 3)))
    assert torch.allclose(result.std((1, 2, 3)), FACTORS * IMAGES.std((1, 2, 3)))


def test_saturation_keeps_the_grey_of_each_pixel_and_does_nothing_to_a_grey_image():
    factors = torch.tensor([0.0, 0.4, 2.0], dtype=torch.float64)
    result = _image_ops.adjust_saturation(IMAGES, factors)
    assert torch.allclose(result.mean(1), IMAGES.mean(1))
    assert torch.allclose(result[0], IMAGES[0].mean(0, keepdim=True).expand(3, -1, -1))
    assert torch.allclose(_image_ops.mix_channels(IMAGES, _image_ops.saturation_matrices(factors)), result)
    grey = IMAGES[:, :1]
    assert torch.equal(_image_ops.adjust_saturation(grey, factors), grey)


def test_a_third_of_a_turn_of_hue_exchanges_the_channels_in_a_circle():
    third = torch.full((3,), 2 * math.pi / 3, dtype=torch.float64)
    result = _image_ops.mix_channels(IMAGES, _image_ops.hue_matrices(third))
    assert torch.allclose(result, IMAGES.roll(1, dims=1))


def test_a_luma_flip_negates_grey_and_keeps_the_difference_of_channels():
    result = _image_ops.mix_channels(IMAGES, _image_ops.luma_flip_matrices(WHICH))
    assert torch.allclose(result[0].mean(0), -IMAGES[0].mean(0))
    assert torch.allclose(result[0] - result[0].mean(0), IMAGES[0] - IMAGES[0].mean(0))
    assert torch.equal(result[1], IMAGES[1])
