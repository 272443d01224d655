"""The bilinear resizes of the extractors. They differ, and a Fréchet distance sees the difference."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from kennel.shapes import Pixels

Resized = Float[Tensor, "batch channels side side"]


def _taps(given: int, wanted: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """For each output position: lower index, upper index, the upper's weight, in TF1's float32."""
    scale = torch.tensor(given, dtype=torch.float32) / wanted
    position = torch.arange(wanted, dtype=torch.float32) * scale
    lower = position.floor()
    upper = (lower + 1).clamp(max=given - 1)
    return lower.long().to(device), upper.long().to(device), (position - lower).to(device)


def tensorflow1_bilinear(pixels: Pixels, side: int) -> Resized:
    """TensorFlow 1's `resize_bilinear(align_corners=False)`: source = target * given / wanted.

    No half-pixel centres and no antialiasing, in float32 on the scale 0..255. This is what the 2015 Inception
    graph does to its input, so it is part of the definition of the original FID.
    """
    images = pixels.to(torch.float32)
    height, width = pixels.shape[-2:]
    if width != side:
        left, right, weight = _taps(width, side, images.device)
        start = images[..., left]
        images = start + (images[..., right] - start) * weight
    if height != side:
        top, bottom, weight = _taps(height, side, images.device)
        start = images[..., top, :]
        images = start + (images[..., bottom, :] - start) * weight[:, None]
    return images


def half_pixel_bilinear(pixels: Pixels, side: int) -> Resized:
    """PyTorch's bilinear with half-pixel centres, without antialiasing, in float32 on the scale 0..255."""
    images = pixels.to(torch.float32)
    if tuple(pixels.shape[-2:]) == (side, side):
        return images
    return functional.interpolate(
        images, size=(side, side), mode="bilinear", align_corners=False, antialias=False
    )
