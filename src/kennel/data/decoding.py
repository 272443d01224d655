"""From the bytes of one image file to upright 8-bit pixels, or one sentence that says why not."""

import io
import struct
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import IO

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from kennel.data.in_flight import in_flight
from kennel.errors import DataError

MAX_PIXELS = 178_956_970
"""Images with more pixels are refused from the header, before anything is decoded (512 MiB as RGB)."""

MAX_FILE_BYTES = 256 << 20
"""A file larger than this is refused unread, so that memory has a bound whatever an archive holds."""

_STRIP_PIXELS = 1 << 20
_BYTES_A_PIXEL = 12
"""Of a picture while it is decoded: four as it is stored, four as it is given back, and the decoder's own."""

IMAGE_SUFFIXES = frozenset(
    (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff"),
        *(".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".avif"),
    )
)
"""Lower-case suffixes of the files that are taken for images; what is inside is found out from the bytes."""

# Only formats of pixels: Pillow would hand PostScript to an interpreter.
_FORMATS = ("JPEG", "MPO", "PNG", "GIF", "WEBP", "BMP", "DIB", "TIFF", "PPM", "JPEG2000", "AVIF")

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation to the transposition that sets the picture upright."""


class TooManyPixelsError(DataError):
    """A header that announces more pixels than the limit: perhaps a decompression bomb."""


def decode(data: bytes | Path, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """The upright picture in an image file, fully loaded, as mode "L" or "RGB", 8 bits a channel.

    `data` is the file's content or its path. Animations give their first frame; alpha is composited on
    white; 16-bit grey keeps its upper byte; CMYK follows Adobe's inversion where the file says so; EXIF
    orientation is applied. Raises `DataError` with a reason in one sentence that does not name the file
    (`TooManyPixelsError` where the header announces more than `max_pixels`).
    """
    image, orientation = decode_as_stored(data, max_pixels=max_pixels)
    return upright(image, orientation)


def decode_as_stored(data: bytes | Path, *, max_pixels: int = MAX_PIXELS) -> tuple[Image.Image, int]:
    """As `decode`, before EXIF orientation is applied: the stored pixels, in which boxes are given, and the
    orientation (1 to 8) for `upright`."""
    with (
        pillow_at_ease(),
        _reasons(),
        _opened(data, max_pixels) as image,
        in_flight(image.width * image.height * _BYTES_A_PIXEL),
    ):
        image.load()
        orientation = _orientation(image)
        return _eight_bits(image), orientation


def read_header(data: bytes | Path, *, max_pixels: int = MAX_PIXELS) -> tuple[int, int, int]:
    """(width, height) in stored pixels and the EXIF orientation, without decoding. Raises as `decode`."""
    with pillow_at_ease(), _reasons(), _opened(data, max_pixels) as image:
        return image.width, image.height, _orientation(image)


def upright(image: Image.Image, orientation: int) -> Image.Image:
    """The picture as its photographer held it; `orientation` is the EXIF value."""
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image


def upright_size(width: int, height: int, orientation: int) -> tuple[int, int]:
    """(width, height) after `upright`."""
    return (height, width) if orientation in (5, 6, 7, 8) else (width, height)


@contextmanager
def _opened(data: bytes | Path, max_pixels: int) -> Iterator[Image.Image]:
    size = len(data) if isinstance(data, bytes) else data.stat().st_size
    if size == 0:
        raise DataError("the file is empty")
    if size > MAX_FILE_BYTES:
        raise DataError(f"the file has {size:,} bytes, more than {MAX_FILE_BYTES:,}")
    stream: IO[bytes] | Path = io.BytesIO(data) if isinstance(data, bytes) else data
    with Image.open(stream, formats=_formats()) as image:
        if image.width * image.height > max_pixels:
            raise TooManyPixelsError(
                f"its header announces {image.width:,} x {image.height:,} pixels, more than {max_pixels:,}"
            )
        yield image


@cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 where there is none or the EXIF block cannot be read."""
    try:
        # PNG's own `getexif` decodes the whole picture to look behind it, which `read_header` must not do.
        value = Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1)
    except Exception:  # a damaged EXIF block raises nearly anything, and the pixels may be fine
        return 1
    return value if isinstance(value, int) and value in _UPRIGHT else 1


def _eight_bits(image: Image.Image) -> Image.Image:
    """Any mode of Pillow to "L" or "RGB"."""
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        # Pillow's own conversion clips 16-bit values at 255; "I" is how it holds 16-bit PGM (and old PNG).
        return Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise DataError(
            f"its pixels are {'32-bit integers' if image.mode == 'I' else 'floats'} of unknown range"
        )
    if image.has_transparency_data:
        return _on_white(image, "L" if image.mode in ("L", "LA", "La", "1") else "RGB")
    if image.mode == "CMYK" and image.format == "JPEG" and "adobe" not in image.info:
        # Pillow takes every CMYK JPEG for Adobe's inverted kind; without that marker 0 means no ink.
        image = image.point(lambda value: 255 - value)
    if image.mode == "1":
        return image.convert("L")
    if image.mode in ("L", "RGB"):
        return image.copy()
    return image.convert("RGB")


def _on_white(image: Image.Image, mode: str) -> Image.Image:
    """Composited on white, some rows at a time: whole, three more copies of four bytes a pixel would lie
    beside the picture."""
    composited = Image.new(mode, image.size)
    rows = max(1, _STRIP_PIXELS // max(1, image.width))
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height))).convert("RGBA")
        ground = Image.new("RGBA", strip.size, "white")
        composited.paste(Image.alpha_composite(ground, strip).convert(mode), (0, top))
    return composited


@contextmanager
def _reasons() -> Iterator[None]:
    """Whatever a decoder raises becomes a `DataError` of one sentence."""
    try:
        yield
    except DataError:
        raise
    except UnidentifiedImageError as error:
        raise DataError("its content is not an image of a known format") from error
    except (OSError, EOFError, struct.error) as error:
        raise DataError(f"it is truncated or damaged ({_first_line(error)})") from error
    except MemoryError as error:
        raise DataError("it does not fit into memory") from error
    except Exception as error:  # hostile bytes make decoders raise anything at all
        raise DataError(f"it cannot be decoded ({type(error).__name__}: {_first_line(error)})") from error


def _first_line(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:120]


_ease_lock = threading.Lock()
_ease_depth = 0
_ease_undo = ExitStack()


@contextmanager
def pillow_at_ease() -> Iterator[None]:
    """Pillow neither warns nor applies its own pixel limit meanwhile: `_opened` has checked the header.

    Both are global to the process, so the first thread in changes them and the last one out restores them.
    """
    global _ease_depth  # noqa: PLW0603
    with _ease_lock:
        if _ease_depth == 0:
            _ease_undo.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")
            _ease_undo.callback(setattr, Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
            Image.MAX_IMAGE_PIXELS = None
        _ease_depth += 1
    try:
        yield
    finally:
        with _ease_lock:
            _ease_depth -= 1
            if _ease_depth == 0:
                _ease_undo.close()
