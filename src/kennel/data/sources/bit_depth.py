"""Pictures of more than 8 bits: how much of their range a whole set uses, and how it becomes 0 to 255.

Sensors of 10, 12 or 14 bits are stored in files of 16. Scaled by what the file could hold such pictures are
nearly black, and scaled by what each of them holds they lose their brightness. So the range is one for all.
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
    """The least and greatest value of one deep picture."""

    low: float
    high: float
    whole: bool
    """Whether its values are whole numbers."""


def is_deep(image: Image.Image) -> bool:
    """Whether an opened picture has one channel of more than 8 bits."""
    return image.mode in ("I", "F") or image.mode.startswith("I;16")


def reads_upper_bytes(image: Image.Image) -> bool:
    """Whether an opened picture has 16 bits in several channels, of which Pillow reads the upper 8."""
    layout = " ".join(str(tile[3]) for tile in getattr(image, "tile", ())[:1])
    return ";16" in layout and not is_deep(image)


def span_of(image: Image.Image) -> Span:
    """Of a loaded deep picture. Raises `DataError` where a value is not finite."""
    values = np.asarray(image)
    low, high = float(values.min()), float(values.max())  # NaN passes through both
    if not np.isfinite((low, high)).all():
        raise DataError("its pixels hold NaN or infinite values")
    return Span(low, high, image.mode != "F")


def to_eight_bits(image: Image.Image, shown: Range) -> Image.Image:
    """A deep picture as "L": whole numbers from low to high in 256 equal steps, floats linearly; clipped.

    With 0 to 65535 that is the upper byte.
    """
    span_of(image)  # refuses what is not finite
    low, high = shown
    steps = 255 / (high - low) if image.mode == "F" else 256 / (high - low + 1)
    half = 0.5 if image.mode == "F" else 0.0
    values = np.asarray(image)
    scaled = np.empty(values.shape, np.uint8)
    rows = max(1, _STRIP_PIXELS // max(1, image.width))
    for top in range(0, len(values), rows):  # the doubles of a whole picture would fill eight times its room
        strip = values[top : top + rows].astype(np.float64)
        scaled[top : top + rows] = np.floor((strip - low) * steps + half).clip(0, 255)
    return Image.fromarray(scaled)


def range_in_use(spans: Iterable[Span]) -> Range | None:
    """The range of a set with these spans: all bits up to the highest that is used, or all values.

    Whole numbers from 0 on take 0 to 2**bits - 1, of 8 bits at least; floats 0 to 1 or 0 to 255 where they
    are within; anything else what it has. None without spans.
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
    """The range of a set, found when the first deep picture is met; safe to ask from any thread."""

    def __init__(self, given: Range | None, look: Callable[[], Iterable[Span]]) -> None:
        """`given` is the user's range; otherwise `look` goes once through all deep pictures of the set."""
        self.given = given
        self._look = look
        self._lock = threading.Lock()
        self._found: Range | None = given

    def __call__(self) -> Range:
        """The values that become black and white."""
        with self._lock:
            if self._found is None:
                self._found = range_in_use(self._look()) or UPPER_BYTE
            return self._found

    def sentence(self, count: int) -> str:
        """What was done with `count` deep pictures."""
        low, high = self()
        plural = f"{count:,} images have" if count != 1 else "1 image has"
        if self.given:
            return f"{plural} more than 8 bits: {low:g} became black and {high:g} white, as --range says"
        bits = int(high + 1).bit_length() - 1
        used = (
            f"{bits} bits are in use in the whole set: "
            if low == 0 and high == 2**bits - 1 and high > 255
            else ""
        )
        return (
            f"{plural} more than 8 bits: {used}{low:g} became black and {high:g} white (--range sets another)"
        )
