"""Random resized crops and flips of whole batches on the device.

A crop of every image is two batched matrix products with triangle-filter weights (resizing is separable). The
result equals bilinear `interpolate(..., antialias=True)` on each crop.
"""

import math
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from kennel.rng import Draws
from kennel.shapes import Images

Boxes: TypeAlias = Float[Tensor, "batch 4"]
"""top, left, height, width of each box, in whole pixels."""

ATTEMPTS = 10


def random_boxes(
    count: int, size: tuple[int, int], scale: tuple[float, float], ratio: tuple[float, float], random: Draws
) -> Boxes:
    """A random box per image inside `size` (height, width): the "inception crop" of RandomResizedCrop.

    The area is uniform in `scale` times the whole, width / height is log-uniform in `ratio`. The first of ten
    tries that fits is taken; if none fits, the largest central box with a ratio in range.
    """
    height, width = size
    uniform = random.uniform(4, count, ATTEMPTS, rows=1)
    area = height * width * (scale[0] + (scale[1] - scale[0]) * uniform[0])
    low, high = math.log(ratio[0]), math.log(ratio[1])
    aspect = torch.exp(low + (high - low) * uniform[1])
    widths = (area * aspect).sqrt().round()
    heights = (area / aspect).sqrt().round()
    fits = (widths >= 1) & (heights >= 1) & (widths <= width) & (heights <= height)
    first = fits.to(torch.int8).argmax(dim=1, keepdim=True)  # batch, 1: the first try that fits
    any_fits = fits.any(dim=1)

    def first_fit(values: Tensor) -> Tensor:
        return values.gather(1, first).squeeze(1)

    def start(position: Tensor, side: int, box_side: Tensor, fallback: int) -> Tensor:
        random_start = (first_fit(position) * (side - box_side + 1)).floor()
        return torch.where(any_fits, random_start, (side - fallback) // 2)

    fallback_aspect = min(max(width / height, ratio[0]), ratio[1])
    fallback_width = min(width, round(height * fallback_aspect))
    fallback_height = min(height, round(width / fallback_aspect))
    box_height = torch.where(any_fits, first_fit(heights), float(fallback_height))
    box_width = torch.where(any_fits, first_fit(widths), float(fallback_width))
    top = start(uniform[2], height, box_height, fallback_height)
    left = start(uniform[3], width, box_width, fallback_width)
    return torch.stack([top, left, box_height, box_width], dim=1)


def resampling_matrices(
    start: Float[Tensor, "batch"], length: Float[Tensor, "batch"], source: int, target: int
) -> Float[Tensor, "batch target source"]:
    """Weights that resample `length` of `source` pixels, from `start` on, to `target` pixels.

    The triangle filter is one target pixel wide if the crop shrinks (antialiasing), one source pixel wide if
    it grows. Weights outside the crop are zero; the rest is normalized.
    """
    device = start.device
    step = (length / target)[:, None, None]  # source pixels per target pixel
    support = step.clamp(min=1.0)
    centers = start[:, None, None] + (torch.arange(target, device=device)[None, :, None] + 0.5) * step
    pixels = torch.arange(source, device=device)[None, None, :] + 0.5
    # In place, because allocating tensors of this size costs more than the arithmetic.
    weights = (pixels - centers).abs_().div_(support).neg_().add_(1).clamp_(min=0)
    first, last = start[:, None, None], (start + length)[:, None, None]
    weights.mul_((pixels > first).logical_and_(pixels < last))
    return weights.div_(weights.sum(dim=2, keepdim=True))


def resized_crop(images: Images, boxes: Boxes) -> Images:
    """Each image's box, resized to the full size, bilinear and antialiased: (batch, C, H, W)."""
    height, width = images.shape[2:]
    top, left, box_height, box_width = boxes.unbind(dim=1)
    if height == width:  # both sides together need half as many small operations
        sides = torch.cat([top, left]), torch.cat([box_height, box_width])
        down, across = resampling_matrices(*sides, height, height).chunk(2)
    else:
        down = resampling_matrices(top, box_height, height, height)
        across = resampling_matrices(left, box_width, width, width)
    # Avoids repeating the matrices for each channel: all rows in one product, then the columns by channel.
    columns = torch.bmm(images.flatten(1, 2), across.transpose(1, 2)).view_as(images)  # batch, C, H, W'
    return torch.stack([torch.bmm(down, channel) for channel in columns.unbind(1)], dim=1)  # batch, C, H', W'


def random_resized_crop(
    images: Images, scale: tuple[float, float], ratio: tuple[float, float], random: Draws
) -> Images:
    """A random box of each image (see `random_boxes`), resized to the full size."""
    height, width = images.shape[2:]
    return resized_crop(images, random_boxes(len(images), (height, width), scale, ratio, random))


def horizontal_flip(images: Images, probability: float, random: Draws) -> Images:
    """Mirrors each image with `probability`."""
    flip = random.uniform(len(images)) < probability
    return torch.where(flip[:, None, None, None], images.flip(3), images)
