"""Operations on batches of images, each image by numbers of its own, for augmentation in front of a network.

All are differentiable as often as anybody likes, which torch's own grid sampling is not, so that a gradient
penalty may look through them. Positions are whole pixels from the top left, or pixels from the centre.
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
"""What comes in from outside: mid-grey (0 of [-1, 1]), or the image mirrored at its border pixels."""


def refuse_points(networks: Networks, name: str) -> None:
    """Raises `RecipeError` where the networks draw points, which nothing here can turn, shift or colour."""
    if networks.generator.spec.size == 1:
        raise RecipeError(
            f"the technique {name} varies images, and the recipe draws points: give it a set of images, or "
            f"--set techniques.{name}=off"
        )


def per_image(values: Tensor) -> Tensor:
    """(batch,) as (batch, 1, 1, 1), to meet (batch, C, H, W)."""
    return values[:, None, None, None]


def mirrored(images: Images, which: Choices) -> Images:
    """Those images with left and right exchanged."""
    return torch.where(per_image(which), images.flip(3), images)


def turned(images: Images, quarters: Counts) -> Images:
    """Each square image turned counter-clockwise by its number of quarters, 0 to 3."""
    result = images
    for number in (1, 2, 3):
        result = torch.where(per_image(quarters == number), images.rot90(number, (2, 3)), result)
    return result


def shifted(images: Images, down: Counts, right: Counts, padding: Padding) -> Images:
    """Each image moved by whole pixels; negative numbers move it up and left."""
    channels, height, width = images.shape[1:]
    rows = torch.arange(height, device=images.device) - down[:, None]  # batch, H: where each row comes from
    columns = torch.arange(width, device=images.device) - right[:, None]
    from_rows = _reflected(rows, height)[:, None, :, None].expand(-1, channels, -1, width)
    from_columns = _reflected(columns, width)[:, None, None, :].expand(-1, channels, height, -1)
    result = images.gather(2, from_rows).gather(3, from_columns)
    if padding == "reflect":
        return result
    row_inside, column_inside = (rows >= 0) & (rows < height), (columns >= 0) & (columns < width)
    inside = row_inside[:, None, :, None] & column_inside[:, None, None, :]
    return torch.where(inside, result, torch.zeros_like(result))


def _reflected(positions: Int[Tensor, "..."], size: int) -> Int[Tensor, "..."]:
    """Positions anywhere, brought inside 0 .. size - 1 by mirroring at the outermost pixels."""
    last = size - 1
    return last - (positions.remainder(max(2 * last, 1)) - last).abs()


def warped(images: Images, matrices: Float[Tensor, "batch 2 3"]) -> Images:
    """Each image through an affine map: what was at M (x, y, 1) is now at (x, y).

    x runs to the right and y down, in pixels from the centre of the image. Bilinear; borders reflect.
    """
    channels, height, width = images.shape[1:]
    xs = torch.arange(width, device=images.device, dtype=images.dtype) - (width - 1) / 2
    ys = torch.arange(height, device=images.device, dtype=images.dtype)[:, None] - (height - 1) / 2
    # Not a matrix product, whose fast kinds would round positions to a tenth of a pixel.
    by_x, by_y, shift = matrices.to(images.dtype)[..., None, None].unbind(2)  # each batch, 2, 1, 1
    x, y = (by_x * xs + by_y * ys + shift).flatten(2).unbind(1)
    x, y = x + (width - 1) / 2, y + (height - 1) / 2
    left, top = x.floor(), y.floor()
    flat = images.flatten(2)
    result = torch.zeros_like(flat)
    for rows, height_share in ((top, 1 - (y - top)), (top + 1, y - top)):
        for columns, width_share in ((left, 1 - (x - left)), (left + 1, x - left)):
            place = _reflected(rows.long(), height) * width + _reflected(columns.long(), width)
            neighbour = flat.gather(2, place[:, None].expand(-1, channels, -1))
            result = result + (height_share * width_share)[:, None] * neighbour
    return result.view(images.shape)


def _affine(rows: list[list[Tensor]]) -> Float[Tensor, "batch 3 3"]:
    """The matrices of two rows of (batch,) entries, with (0, 0, 1) below."""
    zero, one = torch.zeros_like(rows[0][0]), torch.ones_like(rows[0][0])
    return torch.stack([torch.stack(row, 1) for row in [*rows, [zero, zero, one]]], 1)


def scalings(x: Amounts, y: Amounts) -> Float[Tensor, "batch 3 3"]:
    """Multiplies x and y."""
    zero = torch.zeros_like(x)
    return _affine([[x, zero, zero], [zero, y, zero]])


def rotations(angles: Amounts) -> Float[Tensor, "batch 3 3"]:
    """Turns (x, y) by so many radians, from x towards y."""
    cosine, sine, zero = angles.cos(), angles.sin(), torch.zeros_like(angles)
    return _affine([[cosine, -sine, zero], [sine, cosine, zero]])


def translations(x: Amounts, y: Amounts) -> Float[Tensor, "batch 3 3"]:
    """Adds to x and y, in pixels."""
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    return _affine([[one, zero, x], [zero, one, y]])


def cut_out(images: Images, down: Counts, right: Counts, side: int) -> Images:
    """A square hole of mid-grey with its centre at (down, right), less what falls outside the image.

    An even side has one pixel more above and to the left of its centre.
    """
    height, width = images.shape[2:]
    rows = torch.arange(height, device=images.device) - (down - side // 2)[:, None]
    columns = torch.arange(width, device=images.device) - (right - side // 2)[:, None]
    row_inside, column_inside = (rows >= 0) & (rows < side), (columns >= 0) & (columns < side)
    hole = row_inside[:, None, :, None] & column_inside[:, None, None, :]
    return torch.where(hole, torch.zeros_like(images), images)


def brightened(images: Images, amounts: Amounts) -> Images:
    """Adds to every value."""
    return images + per_image(amounts).to(images.dtype)


def saturated(images: Images, factors: Amounts) -> Images:
    """Stretches the difference of each pixel's channels from their mean; a grey image has no such."""
    grey = images.mean(1, keepdim=True)
    return grey + per_image(factors).to(images.dtype) * (images - grey)


def contrasted(images: Images, factors: Amounts) -> Images:
    """Stretches the difference of each value from the mean of its image."""
    mean = images.mean((1, 2, 3), keepdim=True)
    return mean + per_image(factors).to(images.dtype) * (images - mean)


def recoloured(images: Images, matrices: Float[Tensor, "batch channels channels"]) -> Images:
    """Each pixel's channels multiplied by the matrix of its image."""
    return torch.einsum("bij,bjhw->bihw", matrices.to(images.dtype), images)


def _luma(like: Tensor) -> Float[Tensor, "3 3"]:
    """The projection of (red, green, blue) on the grey axis."""
    return torch.full((3, 3), 1 / 3, device=like.device, dtype=like.dtype)


def _identity(like: Tensor) -> Float[Tensor, "3 3"]:
    return torch.eye(3, device=like.device, dtype=like.dtype)


def luma_flips(which: Choices) -> Float[Tensor, "batch 3 3"]:
    """Light becomes dark and hue stays: the reflection 1 - 2 v v^T along the grey axis v."""
    like = torch.zeros((), device=which.device)
    return _identity(like) - 2 * which[:, None, None] * _luma(like)


def hue_rotations(angles: Amounts) -> Float[Tensor, "batch 3 3"]:
    """Turns colours by so many radians around the grey axis (Rodrigues)."""
    step = angles.new_tensor([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / sqrt(3)  # v x, for the unit v
    cosine, sine = angles.cos()[:, None, None], angles.sin()[:, None, None]
    return cosine * _identity(angles) + sine * step + (1 - cosine) * _luma(angles)


def saturations(factors: Amounts) -> Float[Tensor, "batch 3 3"]:
    """Stretches colours away from the grey axis."""
    return _luma(factors) + factors[:, None, None] * (_identity(factors) - _luma(factors))
