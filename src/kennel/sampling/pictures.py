"""Composes pictures of samples: enlarged without blur, as grids, with captions; and one such picture."""

import io
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from kennel.data.images import PixelArray
from kennel.errors import RunError
from kennel.images import png_text, save_png, tile, to_pillow

LEAST_SIDE = 256
"""Pictures with a shorter longer side are enlarged by an integer factor."""
CAPTIONED_SIDE = 96
"""The least side of a cell with text under it."""
Array = npt.NDArray[np.uint8]


class Picture:
    """A picture with samples; a notebook displays it.

    Attribute: `pixels`, uint8 (H, W) or (H, W, 3). Its PNGs say that a GAN made it.
    """

    def __init__(self, pixels: Array, text: Mapping[str, str]) -> None:
        """`text` is the text of the PNGs."""
        self.pixels = pixels
        self._text = text

    def __repr__(self) -> str:
        return f"<a picture of {self.pixels.shape[1]}x{self.pixels.shape[0]}>"

    @property
    def image(self) -> Image.Image:
        """The picture as a Pillow image."""
        return to_pillow(self.pixels)

    def show(self) -> None:
        """Displays the picture in the notebook or, outside of one, in the system's image viewer."""
        show(self, self.image)

    def save(self, file: str | Path) -> Path:
        """Writes a PNG and returns its path; raises `RunError` for another name."""
        file = Path(file)
        refuse_other_than_png(file, "a name")
        save_png(file, self.pixels, self._text)
        return file

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.image.save(buffer, format="PNG", pnginfo=png_text(self._text))
        return buffer.getvalue()


def show(displayed: object, image: Image.Image) -> None:
    """Displays `displayed` in a notebook or, outside of one, `image` in the system's image viewer."""
    with suppress(ImportError):
        from IPython import get_ipython  # type: ignore[import-not-found, unused-ignore]
        from IPython.display import display  # type: ignore[import-not-found, unused-ignore]

        if get_ipython() is not None:
            display(displayed)
            return
    image.show()


def refuse_other_than_png(file: Path, option: str) -> None:
    """Raises `RunError` if the name does not end in .png."""
    if file.suffix.lower() != ".png":
        raise RunError(f"{file} is not a PNG's name: give {option} that ends in .png")


def enlarged(images: PixelArray, least_side: int) -> PixelArray:
    """Images (N, C, H, W), enlarged by an integer factor (nearest neighbor) to at least `least_side`."""
    factor = max(1, math.ceil(least_side / max(images.shape[2:])))
    return images.repeat(factor, axis=2).repeat(factor, axis=3)


def composed(cells: PixelArray, columns: int | None = None, caption: str = "") -> Array:
    """One image alone, or several (N, C, H, W) as a grid, of at least `LEAST_SIDE` pixels, and a caption."""
    columns = min(columns or math.ceil(math.sqrt(len(cells))), len(cells))
    rows = math.ceil(len(cells) / columns)
    cells = enlarged(cells, math.ceil(LEAST_SIDE / max(columns, rows)))
    if len(cells) == 1:
        picture = cells[0][0] if len(cells[0]) == 1 else cells[0].transpose(1, 2, 0)
    else:
        picture = tile(cells, columns, least_side=1)
    return under(picture, caption) if caption else np.ascontiguousarray(picture)


def under(picture: Array, caption: str) -> Array:
    """The picture (H, W) or (H, W, 3) with a line of text under it."""
    width = picture.shape[1]
    strip = _strip((caption,), width, max(14, width // 32))
    if picture.ndim == 3:
        strip = strip[:, :, None].repeat(3, axis=2)
    return np.concatenate([picture, strip])


def with_captions(images: PixelArray, captions: Sequence[Sequence[str]]) -> PixelArray:
    """Images (N, C, H, W), enlarged to at least `CAPTIONED_SIDE`, with lines of text under each one."""
    images = enlarged(images, CAPTIONED_SIDE)
    size = max(13, images.shape[3] // 16)
    strips = np.stack([_strip(tuple(lines), images.shape[3], size) for lines in captions])
    return np.concatenate([images, strips[:, None].repeat(images.shape[1], axis=1)], axis=2)


@lru_cache(512)
def _strip(lines: tuple[str, ...], width: int, size: int) -> Array:
    """Black lines of text on white, centered: uint8 (height, width)."""
    font = ImageFont.load_default(size)
    height = round(size * 1.35)
    strip = Image.new("L", (width, height * len(lines)), 255)
    draw = ImageDraw.Draw(strip)
    for number, line in enumerate(lines):
        fitted = _fitted(line, font, width - 4)
        draw.text((width / 2, height * (number + 0.5)), fitted, fill=0, font=font, anchor="mm")
    return np.asarray(strip)


def _fitted(line: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """The line, cut so that it is not wider than `width` pixels."""
    if font.getlength(line) <= width:
        return line
    while line and font.getlength(f"{line}...") > width:
        line = line[:-1]
    return f"{line}..."
