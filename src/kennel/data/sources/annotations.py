"""Bounding boxes from the XML files of Stanford Dogs and ImageNet.

A box is (left, top, right, bottom) in stored pixels, before any EXIF rotation. Its width is right - left,
which gives the known count of Stanford Dogs (9,071 images; counting both ends gives 9,112).
"""

from typing import NamedTuple
from xml.etree import ElementTree

from kennel.errors import DataError

Box = tuple[int, int, int, int]

_MAX_BYTES = 1 << 20


class Annotation(NamedTuple):
    """The annotation of one image."""

    width: int
    """Of the whole image in stored pixels, 0 if the file does not have it."""
    height: int
    boxes: tuple[Box, ...]
    """In the order of the file, not clipped."""


def parse_annotation(content: bytes) -> Annotation:
    """Parses one `<annotation>`. Raises `DataError` with a reason."""
    if len(content) > _MAX_BYTES or b"<!" in content.replace(b"<!--", b""):
        raise DataError("its annotation is too large or not of the expected kind")
    try:
        root = ElementTree.fromstring(content)
        width, height = (int(float(root.findtext(f"size/{side}") or 0)) for side in ("width", "height"))
        boxes = tuple(_box(element) for element in root.iterfind("object/bndbox"))
    except (ElementTree.ParseError, ValueError, OverflowError) as error:
        raise DataError(f"its annotation cannot be read ({error})") from error
    return Annotation(width, height, boxes)


def _box(element: ElementTree.Element) -> Box:
    left, top, right, bottom = (
        round(float(element.findtext(edge) or "nothing")) for edge in ("xmin", "ymin", "xmax", "ymax")
    )
    return left, top, right, bottom


def clip(box: Box, width: int, height: int) -> Box | None:
    """The part of the box inside an image of (width, height) pixels; None if it is empty."""
    left, top, right, bottom = max(0, box[0]), max(0, box[1]), min(width, box[2]), min(height, box[3])
    return (left, top, right, bottom) if left < right and top < bottom else None
