"""The resize rules of the extractors, by name. They differ, and a Fréchet distance sees the difference."""

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
    """A resize rule: `resize` of uint8 pixels to a square of that side, float32 on the scale 0..255.

    `words` say it in a score's protocol, with {side} where the side stands; the cache of features is keyed
    by them.
    """

    resize: Resize
    words: str


PROTOCOLS: Registry[ResizeProtocol] = Registry("resize protocol")
"""The resize rules by name, for extractors whose network takes pictures of one size."""


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


def _taps(given: int, wanted: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """For each output position: lower index, upper index, the upper's weight, in TF1's float32."""
    scale = torch.tensor(given, dtype=torch.float32) / wanted
    position = torch.arange(wanted, dtype=torch.float32) * scale
    lower = position.floor()
    upper = (lower + 1).clamp(max=given - 1)
    return lower.long().to(device), upper.long().to(device), (position - lower).to(device)


def half_pixel_bilinear(pixels: Pixels, side: int) -> Resized:
    """PyTorch's bilinear with half-pixel centres, without antialiasing, in float32 on the scale 0..255."""
    images = pixels.to(torch.float32)
    if tuple(pixels.shape[-2:]) == (side, side):
        return images
    return functional.interpolate(
        images, size=(side, side), mode="bilinear", align_corners=False, antialias=False
    )


def clean_bicubic(pixels: Pixels, side: int) -> Resized:
    """Pillow's bicubic of each channel as floats, antialiased, cut to 0..255 and not rounded.

    The resize of clean FID (Parmar, Zhang, Zhu, arXiv 2104.11222, section 3). Both directions are products
    with a matrix of weights, so that a batch costs two matrix products.
    """
    images = pixels.to(torch.float32)
    height, width = pixels.shape[-2:]
    if width != side:
        images = images @ _bicubic_weights(width, side).T.to(images.device)
    if height != side:
        images = _bicubic_weights(height, side).to(images.device) @ images
    return images.clamp(0, 255)


@lru_cache(maxsize=32)
def _bicubic_weights(given: int, wanted: int) -> Tensor:
    """Float32 (wanted, given): what each given position adds to each wanted one, rows of sum 1.

    Keys' cubic of radius 2 with a = -0.5 around half-pixel centres, stretched by the ratio where the picture
    shrinks; positions whose centres are farther than the radius, or beyond the edge, are left out.
    """
    ratio = given / wanted
    stretch = max(ratio, 1.0)
    centres = (np.arange(wanted) + 0.5) * ratio
    first = np.maximum((centres - 2 * stretch + 0.5).astype(np.int64), 0)
    last = np.minimum((centres + 2 * stretch + 0.5).astype(np.int64), given)
    places = np.arange(given)
    distance = np.abs((places - centres[:, None] + 0.5) / stretch)
    near = (1.5 * distance - 2.5) * distance**2 + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    weights = np.where(distance < 1, near, np.where(distance < 2, far, 0.0))
    weights *= (places >= first[:, None]) & (places < last[:, None])
    return torch.from_numpy((weights / weights.sum(1, keepdims=True)).astype(np.float32))


PROTOCOLS.register("tf1")(
    ResizeProtocol(
        tensorflow1_bilinear,
        "TensorFlow 1 bilinear to {side}x{side} (no half-pixel centres, no antialias)",
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
