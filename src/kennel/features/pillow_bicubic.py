"""Pillow's bicubic resize of 8-bit images, bit for bit, on tensors and on any device.

The published preprocessing of vision transformers uses Pillow, and another bicubic resize can change Fréchet
distances by more than a model's progress (Parmar et al., arXiv 2104.11222). Pillow resizes rows, then
columns; each pass multiplies integers by weights of 22 fractional bits, rounds and clamps. Such sums are
exact in float64 in any order, so two matrix products give the same levels.

Pillow 13 resizes columns first for some images, such as those that shrink more in height than in width, which
changes some of their levels; here rows are always first. Squares to squares are equal in both.
"""

from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from kennel.shapes import Pixels

SUPPORT = 2.0
"""The radius of the cubic of Keys (1981) with a = -1/2, in pixels of the coarser of the two grids."""
ONE = 2.0**22


def pillow_bicubic(pixels: Pixels, height: int, width: int) -> Float[Tensor, "batch channels rows columns"]:
    """uint8 images to (batch, channels, `height`, `width`), integers 0..255 in float32."""
    place = pixels.device
    if place.type == "mps":  # which knows no float64
        pixels = pixels.cpu()
    levels = pixels.to(torch.float64)
    if pixels.shape[-1] != width:
        levels = _rounded(levels @ _weights(pixels.shape[-1], width).to(levels.device).T)
    if pixels.shape[-2] != height:
        levels = _rounded(_weights(pixels.shape[-2], height).to(levels.device) @ levels)
    return levels.to(torch.float32).to(place)


def _rounded(sums: Tensor) -> Tensor:
    return ((sums + ONE / 2) / ONE).floor().clamp(0, 255)


@lru_cache(maxsize=32)
def _weights(given: int, wanted: int) -> Float[Tensor, "wanted given"]:
    """The weight of each source pixel in each target pixel, times 2^22, as integers. Shrinking stretches the
    cubic over the source pixels of a target pixel. At the border it is cut off and normalized to sum 1."""
    scale = given / wanted
    stretch = max(scale, 1.0)
    centers = ((torch.arange(wanted, dtype=torch.float64) + 0.5) * scale)[:, None]
    places = torch.arange(given, dtype=torch.float64)
    first = (centers - SUPPORT * stretch + 0.5).trunc()
    end = (centers + SUPPORT * stretch + 0.5).trunc()
    shares = _keys((places - centers + 0.5).abs() * (1 / stretch))
    shares = torch.where((places >= first) & (places < end), shares, 0.0)
    # Summed one after the other, as Pillow sums: the last bit decides some roundings.
    shares = shares / shares.cumsum(1)[:, -1:] * ONE
    return (shares + torch.where(shares < 0, -0.5, 0.5)).trunc()


def _keys(distance: Tensor) -> Tensor:
    """The cubic convolution kernel with a = -1/2 at nonnegative distances."""
    near = (1.5 * distance - 2.5) * distance * distance + 1
    far = (((distance - 5) * distance + 8) * distance - 4) * -0.5
    return torch.where(distance < 1, near, torch.where(distance < SUPPORT, far, 0.0))
