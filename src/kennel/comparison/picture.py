"""Grids of samples under their titles, as one picture."""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from kennel.data.images import PixelArray
from kennel.images import Array, tile

GAP, HEADER, LETTER = 12, 26, 16
"""Pixels between two grids, of the line above them, and of its letters."""
MAX_WIDTH = 2000
"""Pixels; further grids go below."""


def side_by_side(grids: Sequence[PixelArray], titles: Sequence[str]) -> Array:
    """Grids of images (N, C, H, W), each below its title: (H', W') or (H', W', 3) on white.

    Gray grids become color ones where both occur. As many stand in a row as 2,000 pixels hold.
    """
    tiled = [np.atleast_3d(tile(grid)) for grid in grids]
    height, width = max(one.shape[0] for one in tiled), max(one.shape[1] for one in tiled)
    channels = max(one.shape[2] for one in tiled)
    across = max(1, min(len(tiled), (MAX_WIDTH + GAP) // (width + GAP)))
    down = math.ceil(len(tiled) / across)
    canvas = np.full(
        (down * (HEADER + height + GAP) - GAP, across * (width + GAP) - GAP, channels), 255, np.uint8
    )
    places = []
    for number, one in enumerate(tiled):
        row, column = divmod(number, across)
        top, left = row * (HEADER + height + GAP), column * (width + GAP)
        canvas[top + HEADER : top + HEADER + one.shape[0], left : left + one.shape[1]] = one
        places.append((left, top))
    picture = Image.fromarray(canvas[:, :, 0] if channels == 1 else canvas)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(LETTER)
    for (left, top), title in zip(places, titles, strict=True):
        draw.text((left + 4, top + (HEADER - LETTER) // 2), _shortened(title, width, font), fill=0, font=font)
    return np.asarray(picture)


def _shortened(title: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """The title, cut at its end where it is wider than its grid."""
    while len(title) > 4 and font.getlength(title) > width - 4:
        title = title[:-2].rstrip("…") + "…"
    return title
