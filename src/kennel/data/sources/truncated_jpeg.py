"""Decodes the intact part of a truncated JPEG and measures its share.

The file is decoded twice, completed with two different tails. Pixels that are equal in both come from the
file; the first difference, in the stored order of blocks, is where the file ends. So gray or black areas do
not count as missing.
"""

import io
from collections.abc import Iterator

import numpy as np
from PIL import Image

LEAST_DECODED = 0.95
"""The least decoded share of a JPEG that is kept."""

_BLOCK = 8
_END = b"\xff\xd9"
_TAILS = (bytes(64), b"\xa5\x3c\x5a\xc3" * 16)


def rescued(data: bytes) -> tuple[Image.Image, float]:
    """The complete rows, and the decoded share (0 to 1); 0 for a progressive JPEG that lacks a pass."""
    data = data.rstrip(b"\xff")
    one, other = (_decoded(data + tail + _END) for tail in _TAILS)
    width, height = one.size
    if "progressive" in one.info and not _all_passes(data):
        return one, 0.0
    first, second = np.atleast_3d(np.asarray(one)), np.atleast_3d(np.asarray(other))
    differs = (first != second).any(axis=2)
    if not differs.any():
        return one, 1.0
    row = int(np.argmax(differs.any(axis=1)))
    column = int(np.argmax(differs[row : row + _BLOCK].any(axis=0)))
    share = (row * width + min(_BLOCK, height - row) * column) / (width * height)
    return one.crop((0, 0, width, max(row, 1))), share


def _decoded(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data), formats=("JPEG",))
    image.load()
    return image


def _all_passes(data: bytes) -> bool:
    """Whether the passes in a progressive JPEG cover the last bit of every coefficient."""
    components: set[int] = set()
    exact: set[tuple[int, int]] = set()
    for marker, body in _segments(data):
        if marker == 0xC2 and len(body) >= 6:
            components = set(body[6::3][: body[5]])
        elif marker == 0xDA and body and len(body) >= 4 + 2 * body[0]:
            count = body[0]
            start, end, bits = body[1 + 2 * count : 4 + 2 * count]
            if bits & 15 == 0:
                exact |= {
                    (name, place) for name in body[1 : 1 + 2 * count : 2] for place in range(start, end + 1)
                }
    return bool(components) and all((name, place) in exact for name in components for place in range(64))


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The marker and content of each segment of a JPEG, without the entropy-coded data."""
    place = 2
    while (place := data.find(b"\xff", place)) >= 0 and place + 4 <= len(data):
        marker = data[place + 1]
        if marker in (0x00, 0xFF) or 0xD0 <= marker <= 0xD9:
            place += 1 if marker == 0xFF else 2
            continue
        length = int.from_bytes(data[place + 2 : place + 4], "big")
        yield marker, data[place + 4 : place + 2 + length]
        place += 2 + max(length, 2)
