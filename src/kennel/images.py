"""Conversions between uint8 and float images, grids of images, and PNG files with text.

Files, packed sets and samples have uint8 pixels from 0 to 255; networks use floats in [-1, 1].
"""

import io
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from kennel.shapes import Images, Pixels
from kennel.storage.atomic_io import atomic_file

Array = npt.NDArray[np.uint8]


def to_float(pixels: Pixels | Images) -> Images:
    """uint8 0..255 to float32 in [-1, 1], both ends exact; floats are returned unchanged."""
    if pixels.is_floating_point():
        return pixels
    return pixels.to(torch.float32).mul_(2 / 255).sub_(1)


def to_uint8(images: Images) -> Pixels:
    """Float in [-1, 1] to uint8 by rounding to the nearest level; values outside are clamped.

    `to_uint8(to_float(x)) == x` for every level. Check for NaN before, which has no level.
    """
    return images.float().add(1).mul_(127.5).round_().clamp_(0, 255).to(torch.uint8)


def tile(images: Array, columns: int | None = None, padding: int = 2, least_side: int = 64) -> Array:
    """Arranges images (N, C, H, W), C 1 or 3, in a grid (H', W') or (H', W', 3) on white, row by row.

    Images smaller than `least_side` are enlarged by an integer factor (nearest neighbor, no interpolation).
    `columns` defaults to the squarest grid.
    """
    count, channels, height, width = images.shape
    columns = columns or max(1, math.ceil(math.sqrt(count)))
    rows = math.ceil(count / columns)
    factor = max(1, math.ceil(least_side / max(height, width)))
    images = images.repeat(factor, axis=2).repeat(factor, axis=3)
    height, width = height * factor, width * factor
    canvas = np.full(
        (rows * (height + padding) + padding, columns * (width + padding) + padding, channels), 255, np.uint8
    )
    for index, image in enumerate(images):
        row, column = divmod(index, columns)
        top, left = padding + row * (height + padding), padding + column * (width + padding)
        canvas[top : top + height, left : left + width] = image.transpose(1, 2, 0)
    return canvas[:, :, 0] if channels == 1 else canvas


def to_pillow(image: Array) -> Image.Image:
    """(H, W), (H, W, 3), or (C, H, W) with C 1 or 3, as a Pillow image."""
    if image.ndim == 3 and image.shape[0] in (1, 3) and image.shape[2] not in (1, 3):
        image = image.transpose(1, 2, 0)
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[:, :, 0]
    return Image.fromarray(np.ascontiguousarray(image))


def png_text(text: Mapping[str, str]) -> PngInfo:
    """PNG text chunks: tEXt, or iTXt if the value is not Latin-1."""
    info = PngInfo()
    for name, value in text.items():
        info.add_text(name, value)
    return info


def save_png(destination: Path, image: Array, text: Mapping[str, str] | None = None) -> None:
    """Writes one PNG atomically, with `text` as its text chunks."""
    with atomic_file(destination) as temporary:
        to_pillow(image).save(temporary, format="PNG", pnginfo=png_text(text or {}))


def png_bytes(image: Array, text: Mapping[str, str] | None = None) -> bytes:
    """One picture as the bytes of a PNG, with `text` as its text chunks."""
    buffer = io.BytesIO()
    to_pillow(image).save(buffer, format="PNG", pnginfo=png_text(text or {}))
    return buffer.getvalue()
