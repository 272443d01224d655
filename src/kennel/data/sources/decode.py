"""Decodes one image file to upright 8-bit pixels, or raises one sentence with the reason."""

import io
import struct
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from PIL import ExifTags, Image, UnidentifiedImageError

from kennel.data.sources.bit_depth import (
    UPPER_BYTE,
    Range,
    Span,
    is_deep,
    reads_upper_bytes,
    span_of,
    to_eight_bits,
)
from kennel.data.sources.decode_budget import in_flight
from kennel.data.sources.formats import formats_for, sizes_inside, unread_content
from kennel.data.sources.truncated_jpeg import LEAST_DECODED, rescued
from kennel.errors import DataError

MAX_PIXELS = 178_956_970
"""Images with more pixels (512 MiB as RGB) are refused before decoding."""

MAX_FILE_BYTES = 256 << 20
"""Larger files are not read, to limit memory."""

TRANSPARENT, DEEP = "transparent", "more than 8 bits"
UPPER_BYTES, CUT_SHORT = "16 bits a channel in color", "cut short"

_STRIP_PIXELS = 1 << 20
_BYTES_PER_PIXEL = 12  # while decoding: four stored, four converted, four for the decoder

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""The transposition that sets an image with this EXIF orientation upright."""


class TooManyPixelsError(DataError):
    """The header announces more pixels than the limit: perhaps a decompression bomb."""


class Picture(NamedTuple):
    """A decoded image in stored pixels.

    `image` has mode "L" or "RGB" and 8 bits per channel; `orientation` is the EXIF value, 1 to 8, for
    `upright`; `remarks` are some of `TRANSPARENT`, `DEEP`, `UPPER_BYTES`, `CUT_SHORT`.
    """

    image: Image.Image
    orientation: int
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reading:
    """How images are decoded."""

    max_pixels: int = MAX_PIXELS
    background: tuple[int, int, int] = (255, 255, 255)
    """The color behind transparent images."""
    value_range: Callable[[], Range] | None = None
    """For images of more than 8 bits; None takes the upper byte of 16 bits and refuses 32."""
    rescue: bool = False
    """Accept a truncated JPEG if nearly all of it is there."""


DEFAULT_READING = Reading()


def decode(data: bytes | Path, *, max_pixels: int = MAX_PIXELS, name: str = "") -> Image.Image:
    """The upright image in a file, as mode "L" or "RGB" with 8 bits per channel.

    `data` is the file's content or its path. Formats without a signature are recognized by the suffix of
    `name`. Animations give their first frame; alpha is composited on white; 16-bit gray keeps its upper byte;
    CMYK follows Adobe's inversion if the file is marked so; EXIF orientation is applied. Raises `DataError`
    with a reason without the file's name (`TooManyPixelsError` for more than `max_pixels`).
    """
    image, orientation, _ = read_picture(data, Reading(max_pixels), name)
    return upright(image, orientation)


def read_picture(data: bytes | Path, reading: Reading = DEFAULT_READING, name: str = "") -> Picture:
    """The image in stored pixels. Raises as `decode`."""
    with (
        _opened(data, reading.max_pixels, name) as image,
        in_flight(image.width * image.height * _BYTES_PER_PIXEL),
    ):
        orientation = _orientation(image)
        remarks = [UPPER_BYTES] if reads_upper_bytes(image) else []
        try:
            image.load()
        except OSError:
            if not (reading.rescue and image.format == "JPEG" and isinstance(data, bytes)):
                raise
            image = _rescued(data)  # noqa: PLW2901
            remarks.append(CUT_SHORT)
        if is_deep(image):
            remarks.append(DEEP)
        elif _is_transparent(image):
            remarks.append(TRANSPARENT)
        return Picture(_eight_bits(image, reading), orientation, tuple(remarks))


def _is_transparent(image: Image.Image) -> bool:
    """Whether a pixel of a loaded image is not opaque; many alpha channels are fully opaque."""
    if not image.has_transparency_data:
        return False
    layers = image if image.mode in ("RGBA", "LA") else image.convert("RGBA")
    return layers.getchannel("A").histogram()[255] < image.width * image.height


def _rescued(data: bytes) -> Image.Image:
    image, share = rescued(data)
    if share < LEAST_DECODED:
        raise DataError(
            f"it is cut short: {share:.0%} of it could be decoded, at least {LEAST_DECODED:.0%} are needed"
        )
    return image


def read_span(data: bytes | Path, reading: Reading, name: str = "") -> Span | None:
    """The lowest and highest value of an image of more than 8 bits, else None without decoding."""
    with _opened(data, reading.max_pixels, name) as image:
        if not is_deep(image):
            return None
        with in_flight(image.width * image.height * _BYTES_PER_PIXEL):
            image.load()
            return span_of(image)


def read_header(data: bytes | Path, *, max_pixels: int = MAX_PIXELS, name: str = "") -> tuple[int, int, int]:
    """(width, height) in stored pixels and the EXIF orientation, without decoding. Raises as `decode`."""
    with _opened(data, max_pixels, name) as image:
        return image.width, image.height, _orientation(image)


def upright(image: Image.Image, orientation: int) -> Image.Image:
    """The image with the EXIF `orientation` applied."""
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image


def upright_size(width: int, height: int, orientation: int) -> tuple[int, int]:
    """(width, height) after `upright`."""
    return (height, width) if orientation in (5, 6, 7, 8) else (width, height)


def check_size(size: int) -> None:
    """Raises `DataError` for a file of more than `MAX_FILE_BYTES`."""
    if size > MAX_FILE_BYTES:
        raise DataError(f"the file has {size:,} bytes, more than {MAX_FILE_BYTES:,}")


@contextmanager
def _opened(data: bytes | Path, max_pixels: int, name: str) -> Iterator[Image.Image]:
    """The opened image. Any exception in the block becomes a `DataError` of one sentence."""
    with pillow_at_ease(), _reasons():
        if isinstance(data, Path):
            check_size(data.stat().st_size)
            name = name or data.name
            data = data.read_bytes()
        if not data:
            raise DataError("the file is empty")
        check_size(len(data))
        for width, height in sizes_inside(data):
            _check_pixels(width, height, max_pixels)
        try:
            opened = Image.open(io.BytesIO(data), formats=formats_for(name))
        except UnidentifiedImageError:
            known = unread_content(data[:64])
            raise DataError(known or "its content is not an image of a known format") from None
        with opened as image:
            _check_pixels(image.width, image.height, max_pixels)
            yield image


def _check_pixels(width: int, height: int, most: int) -> None:
    if width * height > most:
        raise TooManyPixelsError(f"its header announces {width:,} x {height:,} pixels, more than {most:,}")


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 if it is missing or cannot be read."""
    try:
        # The PNG plugin's `getexif` would decode the whole image, which `read_header` must not do.
        value = Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1)
    except Exception:  # a damaged EXIF block raises nearly anything
        return 1
    return value if isinstance(value, int) and value in _UPRIGHT else 1


def _eight_bits(image: Image.Image, reading: Reading) -> Image.Image:
    """Converts any mode of Pillow to "L" or "RGB"."""
    if is_deep(image):
        # Pillow also uses "I" for 16-bit PGM and, in old versions, for 16-bit PNG.
        has_16_bits = image.mode.startswith("I;16") or image.format in ("PNG", "PPM")
        if reading.value_range is None and not has_16_bits:
            raise DataError(
                f"its pixels are {'32-bit integers' if image.mode == 'I' else 'floats'} of unknown range"
            )
        # Pillow's own conversion clips at 255.
        return to_eight_bits(image, reading.value_range() if reading.value_range else UPPER_BYTE)
    if image.has_transparency_data:
        is_gray = image.mode in ("L", "LA", "La", "1") and len(set(reading.background)) == 1
        return _composited(image, "L" if is_gray else "RGB", reading.background)
    if image.mode == "CMYK" and image.format == "JPEG" and "adobe" not in image.info:
        # Pillow treats every CMYK JPEG as Adobe's inverted kind; without the marker 0 means no ink.
        image = image.point(lambda value: 255 - value)
    if image.mode == "1":
        return image.convert("L")
    if image.mode in ("L", "RGB"):
        return image.copy()
    return image.convert("RGB")


def _composited(image: Image.Image, mode: str, background: tuple[int, int, int]) -> Image.Image:
    """The image on a background color, in strips to limit memory."""
    composited = Image.new(mode, image.size)
    rows = max(1, _STRIP_PIXELS // max(1, image.width))
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height))).convert("RGBA")
        behind = Image.new("RGBA", strip.size, (*background, 255))
        composited.paste(Image.alpha_composite(behind, strip).convert(mode), (0, top))
    return composited


@contextmanager
def _reasons() -> Iterator[None]:
    try:
        yield
    except DataError:
        raise
    except (OSError, EOFError, struct.error) as error:
        raise DataError(f"it is truncated or damaged ({_first_line(error)})") from error
    except MemoryError as error:
        raise DataError("it does not fit into memory") from error
    except Exception as error:  # damaged files make decoders raise nearly anything
        raise DataError(f"it cannot be decoded ({type(error).__name__}: {_first_line(error)})") from error


def _first_line(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:120]


_ease_lock = threading.Lock()
_ease_depth = 0
_ease_undo = ExitStack()


@contextmanager
def pillow_at_ease() -> Iterator[None]:
    """Disables Pillow's warnings and its pixel limit for the block; `_opened` checks headers itself.

    Both are global: the first thread to enter changes them, the last one to leave restores them.
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
