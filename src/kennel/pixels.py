"""The one conversion between uint8 pixels (files, packed sets, samples) and floats in [-1, 1] (networks)."""

import torch

from kennel.shapes import Images, Pixels


def to_float(pixels: Pixels | Images) -> Images:
    """uint8 0..255 to float32 in [-1, 1], both ends exact; what is float already is taken as it is."""
    if pixels.is_floating_point():
        return pixels
    return pixels.to(torch.float32).mul_(2 / 255).sub_(1)


def to_uint8(images: Images) -> Pixels:
    """Float in [-1, 1] to uint8 by rounding to the nearest level; values outside are clamped.

    `to_uint8(to_float(x)) == x` for every level. NaN has no level: callers that may hold one check first.
    """
    return images.float().add(1).mul_(127.5).round_().clamp_(0, 255).to(torch.uint8)
