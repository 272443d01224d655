"""Pillow's bicubic resize of 8-bit pictures, bit for bit, on tensors and on any device.

The published preprocessing of vision transformers goes through Pillow, and another bicubic can move Fréchet
distances by more than a model's progress (Parmar et al., arXiv 2104.11222). Pillow resizes rows, then
columns; each pass weights whole numbers by whole numbers of 22 bits after the point, rounds and clamps. Such
sums are exact in float64, whatever their order, so that two matrix products give the very same levels.

Pillow 13 takes the columns first where a picture shrinks more in height than in width, say, which moves some
levels of such pictures; here rows are always first. Squares to squares are the same in both.
"""

from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from kennel.shapes import Pixels

SUPPORT = 2.0
"""How far the cubic of Keys (1981) with a = -1/2 reaches, in pixels of the coarser of the two grids."""
ONE = 2.0**22


def pillow_bicubic(pixels: Pixels, height: int, width: int) -> Float[Tensor, "batch channels rows columns"]:
    """uint8 pictures to (batch, channels, `height`, `width`), whole numbers 0..255 in float32."""
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
    """The share of each given pixel in each wanted one, times 2^22, in whole numbers.

    Shrinking stretches the cubic over the pixels that fall into one; at the border it is cut off and the rest
    brought to a sum of one.
    """
    scale = given / wanted
    stretch = max(scale, 1.0)
    centres = ((torch.arange(wanted, dtype=torch.float64) + 0.5) * scale)[:, None]
    places = torch.arange(given, dtype=torch.float64)
    first = (centres - SUPPORT * stretch + 0.5).trunc()
    end = (centres + SUPPORT * stretch + 0.5).trunc()
    shares = _keys((places - centres + 0.5).abs() * (1 / stretch))
    shares = torch.where((places >= first) & (places < end), shares, 0.0)
    # Summed one after the other, as Pillow sums: the last bit decides some roundings.
    shares = shares / shares.cumsum(1)[:, -1:] * ONE
    return (shares + torch.where(shares < 0, -0.5, 0.5)).trunc()


def _keys(distance: Tensor) -> Tensor:
    """The cubic convolution kernel with a = -1/2 at distances of 0 and more."""
    near = (1.5 * distance - 2.5) * distance * distance + 1
    far = (((distance - 5) * distance + 8) * distance - 4) * -0.5
    return torch.where(distance < 1, near, torch.where(distance < SUPPORT, far, 0.0))
