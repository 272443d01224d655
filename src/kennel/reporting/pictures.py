"""Pictures inside a page: read with care, and light enough that the page stays small."""

import base64
import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from kennel.data.sources.decode import MAX_FILE_BYTES, decode, pillow_at_ease
from kennel.errors import KennelError
from kennel.images import png_text
from kennel.storage.untrusted import leads_out, read_bytes

MAX_PICTURES = 3_300_000
"""Bytes of all pictures of a page, before they are written as text, which takes a third more."""
MAX_EMBEDDED = 900_000
"""Bytes of one picture."""
LEAST_BYTES = 2_000
"""A picture that would get less room is not embedded."""
MAX_PAGE_PIXELS = 1 << 27
"""Limit of a picture in the page; a run's own grids have about 1% of it."""
SMALL_SIDE = 64
"""Images of fewer pixels are enlarged without blur."""
QUALITIES = (90, 80, 65)
"""Of JPEG, tried in this order for a color picture that is too heavy as a PNG."""
_TYPES = {b"\x89P": "png", b"\xff\xd8": "jpeg"}


@dataclass(frozen=True)
class Embedded:
    """A picture as a data URI with its size in pixels; `is_reduced` if it was compressed or scaled down."""

    uri: str
    width: int
    height: int
    is_reduced: bool


class PictureBudget:
    """Embeds pictures as long as the page has room for them."""

    def __init__(self, room: int = MAX_PICTURES) -> None:
        self.room = room

    def embed(self, file: Path, most: int = MAX_EMBEDDED) -> Embedded | None:
        """Reads a PNG and makes it at most `most` bytes.

        Returns None for a link, which may lead out of the run's folder, for an invalid file, and where no
        room is left.
        """
        png = read_png(file)
        return None if png is None else self.add(png, most)

    def add(self, png: bytes, most: int = MAX_EMBEDDED) -> Embedded | None:
        """Embeds the bytes of a valid PNG."""
        limit = min(most, self.room)
        if len(png) > limit < LEAST_BYTES:
            return None
        small = reduced(png, limit)
        if len(small) > self.room:
            return None
        self.room -= len(small)
        with pillow_at_ease(), Image.open(io.BytesIO(small)) as picture:
            return Embedded(data_uri(small), *picture.size, small is not png)


def read_png(file: Path) -> bytes | None:
    """The bytes of a PNG that decodes; None for a link, a missing file and any other content."""
    if file.is_symlink() or leads_out(file.parent):
        return None
    try:
        png = read_bytes(file, MAX_FILE_BYTES)
        if not png.startswith(b"\x89PNG\r\n\x1a\n"):
            return None
        decode(png, max_pixels=MAX_PAGE_PIXELS)
    except (KennelError, FileNotFoundError):
        return None
    return png


def data_uri(picture: bytes) -> str:
    """The bytes of a PNG or JPEG as a data URI."""
    kind = _TYPES[picture[:2]]
    return f"data:image/{kind};base64," + base64.b64encode(picture).decode("ascii")


def reduced(png: bytes, limit: int = MAX_EMBEDDED) -> bytes:
    """Returns the PNG, or if it has more than `limit` bytes a smaller picture that says the same of itself.

    A color picture becomes a JPEG of the same size in pixels. Where that is still too heavy, and for gray
    pictures, it is scaled down. The PNG's text is kept, in a JPEG as its comment.
    """
    if len(png) <= limit:
        return png
    with pillow_at_ease(), Image.open(io.BytesIO(png), formats=["PNG"]) as picture:
        picture.load()
        text = {str(name): str(value) for name, value in picture.info.items() if isinstance(value, str)}
        if picture.mode == "RGB":
            for quality in QUALITIES:
                if len(jpeg := _jpeg(picture, quality, text)) <= limit:
                    return jpeg
        scale = min(0.8, (limit / len(png)) ** 0.5)
        while True:
            side = (max(1, int(picture.width * scale)), max(1, int(picture.height * scale)))
            smaller = _encoded(picture.resize(side, Image.Resampling.LANCZOS), text)
            if len(smaller) <= limit or side == (1, 1):
                return smaller
            scale *= 0.8


def _encoded(picture: Image.Image, text: dict[str, str]) -> bytes:
    if picture.mode == "RGB":
        return _jpeg(picture, QUALITIES[1], text)
    content = io.BytesIO()
    picture.save(content, "PNG", pnginfo=png_text(text))
    return content.getvalue()


def _jpeg(picture: Image.Image, quality: int, text: dict[str, str]) -> bytes:
    content = io.BytesIO()
    comment = "\n".join(f"{name}: {value}" for name, value in text.items()).encode()[:60_000]
    picture.save(content, "JPEG", quality=quality, subsampling=0, comment=comment)
    return content.getvalue()
