"""The resize rules of the extractors, by name. Fréchet distances depend on them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from kennel.registry import Registry
from kennel.shapes import Pixels

Resized = Float[Tensor, "batch channels side side"]
Resize: TypeAlias = Callable[[Pixels, int], Resized]


@dataclass(frozen=True)
class ResizeProtocol:
    """A resize rule: `resize` maps uint8 pixels to a square of the given side, float32 in 0..255. `words` are
    its text in protocols, with {side}; the feature cache uses it in its key."""

    resize: Resize
    words: str


PROTOCOLS: Registry[ResizeProtocol] = Registry("resize protocol")
"""The resize rules by name, for extractors whose network has a fixed input size."""


def tensorflow1_bilinear(pixels: Pixels, side: int) -> Resized:
    """TensorFlow 1's `resize_bilinear(align_corners=False)`: source = target * source size / target size. No
    half-pixel centers and no antialiasing, in float32 in 0..255. The 2015 Inception graph uses it, so it is
    part of the original FID."""
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


def _taps(given: int, wanted: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """For each output position: lower index, upper index, and the upper one's weight, in TF1's float32."""
    scale = torch.tensor(given, dtype=torch.float32) / wanted
    position = torch.arange(wanted, dtype=torch.float32) * scale
    lower = position.floor()
    upper = (lower + 1).clamp(max=given - 1)
    return lower.long().to(device), upper.long().to(device), (position - lower).to(device)


def half_pixel_bilinear(pixels: Pixels, side: int) -> Resized:
    """PyTorch's bilinear with half-pixel centers, without antialiasing, in float32 in 0..255."""
    images = pixels.to(torch.float32)
    if tuple(pixels.shape[-2:]) == (side, side):
        return images
    return functional.interpolate(
        images, size=(side, side), mode="bilinear", align_corners=False, antialias=False
    )


def clean_bicubic(pixels: Pixels, side: int) -> Resized:
    """Pillow's bicubic on float channels, antialiased, clamped to 0..255 and not rounded. The resize of clean
    FID (Parmar, Zhang, Zhu, arXiv 2104.11222, section 3), as two matrix products per batch."""
    images = pixels.to(torch.float32)
    height, width = pixels.shape[-2:]
    if width != side:
        images = images @ _bicubic_weights(width, side).T.to(images.device)
    if height != side:
        images = _bicubic_weights(height, side).to(images.device) @ images
    return images.clamp(0, 255)


@lru_cache(maxsize=32)
def _bicubic_weights(given: int, wanted: int) -> Tensor:
    """Float32 (wanted, given): the weight of each source position in each target position; rows sum to 1.
    Keys' cubic with radius 2 and a = -0.5 around half-pixel centers, stretched by the ratio when shrinking.
    Positions beyond the radius or the edge are left out."""
    ratio = given / wanted
    stretch = max(ratio, 1.0)
    centers = (np.arange(wanted) + 0.5) * ratio
    first = np.maximum((centers - 2 * stretch + 0.5).astype(np.int64), 0)
    last = np.minimum((centers + 2 * stretch + 0.5).astype(np.int64), given)
    places = np.arange(given)
    distance = np.abs((places - centers[:, None] + 0.5) / stretch)
    near = (1.5 * distance - 2.5) * distance**2 + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    weights = np.where(distance < 1, near, np.where(distance < 2, far, 0.0))
    weights *= (places >= first[:, None]) & (places < last[:, None])
    return torch.from_numpy((weights / weights.sum(1, keepdims=True)).astype(np.float32))


PROTOCOLS.register("tf1")(
    ResizeProtocol(
        tensorflow1_bilinear, "TensorFlow 1 bilinear to {side}x{side} (no half-pixel centres, no antialias)"
    )
)
PROTOCOLS.register("pytorch")(
    ResizeProtocol(half_pixel_bilinear, "bilinear to {side}x{side} (half-pixel centres, no antialias)")
)
PROTOCOLS.register("clean")(
    ResizeProtocol(
        clean_bicubic, "Pillow bicubic in floats to {side}x{side} (antialias, in 0..255, unrounded)"
    )
)
