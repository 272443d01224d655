"""Images of more than 8 bits: the value range of a whole set, and its conversion to 0..255.

Sensors of 10, 12 or 14 bits are stored in 16-bit files. Scaled by the range of the file such images are
nearly black; scaled one by one they lose their relative brightness. So all images of a set are scaled by one
range.
"""

import threading
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
from PIL import Image

from kennel.errors import DataError

Range = tuple[float, float]
"""The values that become black and white."""

UPPER_BYTE: Range = (0.0, 65535.0)
_STRIP_PIXELS = 1 << 20


class Span(NamedTuple):
    """The lowest and highest value of one deep image."""

    low: float
    high: float
    whole: bool
    """Whether the values are integers."""


def is_deep(image: Image.Image) -> bool:
    """Whether an opened image has one channel of more than 8 bits."""
    return image.mode in ("I", "F") or image.mode.startswith("I;16")


def reads_upper_bytes(image: Image.Image) -> bool:
    """Whether an opened image has several channels of 16 bits, of which Pillow reads the upper 8."""
    layout = " ".join(str(tile[3]) for tile in getattr(image, "tile", ())[:1])
    return ";16" in layout and not is_deep(image)


def span_of(image: Image.Image) -> Span:
    """The span of a loaded deep image. Raises `DataError` if a value is not finite."""
    values = np.asarray(image)
    low, high = float(values.min()), float(values.max())  # NaN passes through both
    if not np.isfinite((low, high)).all():
        raise DataError("its pixels hold NaN or infinite values")
    return Span(low, high, image.mode != "F")


def to_eight_bits(image: Image.Image, value_range: Range) -> Image.Image:
    """A deep image as "L", clipped to the range: integers in 256 equal steps, floats linearly."""
    span_of(image)  # raises if a value is not finite
    low, high = value_range
    steps = 255 / (high - low) if image.mode == "F" else 256 / (high - low + 1)
    half = 0.5 if image.mode == "F" else 0.0
    values = np.asarray(image)
    scaled = np.empty(values.shape, np.uint8)
    rows = max(1, _STRIP_PIXELS // max(1, image.width))
    for top in range(0, len(values), rows):  # in strips, since float64 takes eight times the memory
        strip = values[top : top + rows].astype(np.float64)
        scaled[top : top + rows] = np.floor((strip - low) * steps + half).clip(0, 255)
    return Image.fromarray(scaled)


def range_in_use(spans: Iterable[Span]) -> Range | None:
    """The range of a set with these spans; None without spans.

    Non-negative integers: 0 to 2**bits - 1 for the highest bit used, at least 8 bits. Floats: 0 to 1 or 0 to
    255 if they fit. Otherwise from the lowest value to the highest.
    """
    spans = list(spans)
    if not spans:
        return None
    low, high = min(span.low for span in spans), max(span.high for span in spans)
    if all(span.whole for span in spans) and low >= 0:
        return 0.0, float(2 ** max(8, int(high).bit_length()) - 1)
    if low >= 0 and high <= 255:
        return 0.0, 1.0 if high <= 1 else 255.0
    return (low, high) if high > low else (low, low + 1)


class SetRange:
    """The range of a set, computed at the first deep image; thread-safe."""

    def __init__(self, given: Range | None, spans: Callable[[], Iterable[Span]]) -> None:
        """`given` is the user's range; if None, `spans` reads the spans of all deep images once."""
        self.given = given
        self._spans = spans
        self._lock = threading.Lock()
        self._found: Range | None = given

    def __call__(self) -> Range:
        with self._lock:
            if self._found is None:
                self._found = range_in_use(self._spans()) or UPPER_BYTE
            return self._found

    def sentence(self, count: int) -> str:
        """How `count` deep images were scaled."""
        low, high = self()
        images = f"{count:,} images have" if count != 1 else "1 image has"
        mapping = f"{low:g} became black and {high:g} white"
        if self.given:
            return f"{images} more than 8 bits: {mapping}, as --range says"
        bits = int(high + 1).bit_length() - 1
        is_full = low == 0 and high == 2**bits - 1 and high > 255
        used = f"the whole set uses {bits} bits: " if is_full else ""
        return f"{images} more than 8 bits: {used}{mapping} (--range sets another)"
