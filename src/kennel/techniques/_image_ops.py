"""Image operations with parameters per image, for augmentation of the discriminator's input.

All are differentiable any number of times, unlike `grid_sample`, so that gradient penalties work. Positions
are whole pixels from the top left, or pixels from the center.
"""

from math import sqrt
from typing import Literal, TypeAlias

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from kennel.errors import RecipeError
from kennel.shapes import Images
from kennel.techniques.base import Networks

Amounts: TypeAlias = Float[Tensor, "batch"]
Counts: TypeAlias = Int[Tensor, "batch"]
Choices: TypeAlias = Bool[Tensor, "batch"]
Padding: TypeAlias = Literal["zero", "reflect"]
"""Pixels from outside the image: mid-gray (0 of [-1, 1]), or a reflection at the border pixels."""


def refuse_points(networks: Networks, name: str) -> None:
    """Raises `RecipeError` if the networks draw points, which cannot be augmented."""
    if networks.generator.spec.size == 1:
        raise RecipeError(
            f"the technique {name} needs images, and the recipe draws points: train on a set of images, or "
            f"--set techniques.{name}=off"
        )


def per_image(values: Tensor) -> Tensor:
    """Reshapes (batch,) to (batch, 1, 1, 1)."""
    return values[:, None, None, None]


def hflip(images: Images, chosen: Choices) -> Images:
    """Flips the chosen images left to right."""
    return torch.where(per_image(chosen), images.flip(3), images)


def rotate_quarters(images: Images, quarters: Counts) -> Images:
    """Rotates each square image counterclockwise by 0 to 3 quarters."""
    result = images
    for number in (1, 2, 3):
        result = torch.where(per_image(quarters == number), images.rot90(number, (2, 3)), result)
    return result


def translate(images: Images, down: Counts, right: Counts, padding: Padding) -> Images:
    """Moves each image by whole pixels; negative numbers move it up and left."""
    channels, height, width = images.shape[1:]
    rows = torch.arange(height, device=images.device) - down[:, None]  # batch, H: source of each row
    columns = torch.arange(width, device=images.device) - right[:, None]
    source_rows = _reflect(rows, height)[:, None, :, None].expand(-1, channels, -1, width)
    source_columns = _reflect(columns, width)[:, None, None, :].expand(-1, channels, height, -1)
    result = images.gather(2, source_rows).gather(3, source_columns)
    if padding == "reflect":
        return result
    return torch.where(_rectangle(rows, height, columns, width), result, torch.zeros_like(result))


def _rectangle(rows: Tensor, height: int, columns: Tensor, width: int) -> Bool[Tensor, "batch 1 _ _"]:
    """Where row and column numbers, (batch, H) and (batch, W), are in 0 .. height-1 and 0 .. width-1."""
    row_inside, column_inside = (rows >= 0) & (rows < height), (columns >= 0) & (columns < width)
    return row_inside[:, None, :, None] & column_inside[:, None, None, :]


def _reflect(positions: Int[Tensor, "..."], size: int) -> Int[Tensor, "..."]:
    """Maps any positions to 0 .. size - 1 by reflection at the outermost pixels."""
    last = size - 1
    return last - (positions.remainder(max(2 * last, 1)) - last).abs()


def warp_affine(images: Images, matrices: Float[Tensor, "batch 2 3"]) -> Images:
    """Samples each image at M (x, y, 1) for the output pixel (x, y), bilinearly, with reflected borders.

    x points right and y down, in pixels from the image's center.
    """
    channels, height, width = images.shape[1:]
    xs = torch.arange(width, device=images.device, dtype=images.dtype) - (width - 1) / 2
    ys = torch.arange(height, device=images.device, dtype=images.dtype)[:, None] - (height - 1) / 2
    # Not a matrix product: the fast kinds round positions to a tenth of a pixel.
    by_x, by_y, shift = matrices.to(images.dtype)[..., None, None].unbind(2)  # each batch, 2, 1, 1
    x, y = (by_x * xs + by_y * ys + shift).flatten(2).unbind(1)
    x, y = x + (width - 1) / 2, y + (height - 1) / 2
    left, top = x.floor(), y.floor()
    flat = images.flatten(2)
    result = torch.zeros_like(flat)
    for rows, row_weight in ((top, 1 - (y - top)), (top + 1, y - top)):
        for columns, column_weight in ((left, 1 - (x - left)), (left + 1, x - left)):
            index = _reflect(rows.long(), height) * width + _reflect(columns.long(), width)
            neighbor = flat.gather(2, index[:, None].expand(-1, channels, -1))
            result = result + (row_weight * column_weight)[:, None] * neighbor
    return result.view(images.shape)


def _affine(rows: list[list[Tensor]]) -> Float[Tensor, "batch 3 3"]:
    """Matrices of two rows of (batch,) entries, and the row (0, 0, 1)."""
    zero, one = torch.zeros_like(rows[0][0]), torch.ones_like(rows[0][0])
    return torch.stack([torch.stack(row, 1) for row in [*rows, [zero, zero, one]]], 1)


def scale_matrices(x: Amounts, y: Amounts) -> Float[Tensor, "batch 3 3"]:
    zero = torch.zeros_like(x)
    return _affine([[x, zero, zero], [zero, y, zero]])


def rotation_matrices(angles: Amounts) -> Float[Tensor, "batch 3 3"]:
    """Rotate by radians, from x towards y."""
    cosine, sine, zero = angles.cos(), angles.sin(), torch.zeros_like(angles)
    return _affine([[cosine, -sine, zero], [sine, cosine, zero]])


def translation_matrices(x: Amounts, y: Amounts) -> Float[Tensor, "batch 3 3"]:
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    return _affine([[one, zero, x], [zero, one, y]])


def cutout(images: Images, down: Counts, right: Counts, side: int) -> Images:
    """A mid-gray square with its center at (down, right), cropped at the border.

    For an even side, there is one pixel more above and to the left of the center.
    """
    height, width = images.shape[2:]
    rows = torch.arange(height, device=images.device) - (down - side // 2)[:, None]
    columns = torch.arange(width, device=images.device) - (right - side // 2)[:, None]
    return torch.where(_rectangle(rows, side, columns, side), torch.zeros_like(images), images)


def adjust_brightness(images: Images, amounts: Amounts) -> Images:
    return images + per_image(amounts).to(images.dtype)


def adjust_saturation(images: Images, factors: Amounts) -> Images:
    """Scales the difference of each pixel's channels from their mean."""
    gray = images.mean(1, keepdim=True)
    return gray + per_image(factors).to(images.dtype) * (images - gray)


def adjust_contrast(images: Images, factors: Amounts) -> Images:
    """Scales the difference of each value from the mean of its image."""
    mean = images.mean((1, 2, 3), keepdim=True)
    return mean + per_image(factors).to(images.dtype) * (images - mean)


def mix_channels(images: Images, matrices: Float[Tensor, "batch channels channels"]) -> Images:
    """Multiplies each pixel's channels by the matrix of its image."""
    return torch.einsum("bij,bjhw->bihw", matrices.to(images.dtype), images)


def _luma(like: Tensor) -> Float[Tensor, "3 3"]:
    """The projection of (red, green, blue) on the gray axis."""
    return torch.full((3, 3), 1 / 3, device=like.device, dtype=like.dtype)


def _identity(like: Tensor) -> Float[Tensor, "3 3"]:
    return torch.eye(3, device=like.device, dtype=like.dtype)


def luma_flip_matrices(chosen: Choices) -> Float[Tensor, "batch 3 3"]:
    """Invert lightness and keep hue: the reflection 1 - 2 v v^T along the gray axis v."""
    like = torch.zeros((), device=chosen.device)
    return _identity(like) - 2 * chosen[:, None, None] * _luma(like)


def hue_matrices(angles: Amounts) -> Float[Tensor, "batch 3 3"]:
    """Rotate colors by radians around the gray axis (Rodrigues)."""
    cross = angles.new_tensor([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / sqrt(3)  # v x, for the unit vector v
    cosine, sine = angles.cos()[:, None, None], angles.sin()[:, None, None]
    return cosine * _identity(angles) + sine * cross + (1 - cosine) * _luma(angles)


def saturation_matrices(factors: Amounts) -> Float[Tensor, "batch 3 3"]:
    """Scale colors away from the gray axis."""
    return _luma(factors) + factors[:, None, None] * (_identity(factors) - _luma(factors))
