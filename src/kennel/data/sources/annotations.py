"""Bounding boxes from the XML files that lie beside the photographs of Stanford Dogs and ImageNet.

A box is (left, top, right, bottom) in stored pixels, before any EXIF rotation; right - left is its width,
which is how the known count of Stanford Dogs comes out (9,071 photographs; counting both ends gives 9,112).
"""

from typing import NamedTuple
from xml.etree import ElementTree

from kennel.errors import DataError

Box = tuple[int, int, int, int]

_MAX_BYTES = 1 << 20


class Annotation(NamedTuple):
    """What is written about one photograph."""

    width: int
    """Of the whole photograph in stored pixels, 0 where the file does not say."""
    height: int
    boxes: tuple[Box, ...]
    """In the order of the file, as they are written there (not clipped)."""


def parse_annotation(content: bytes) -> Annotation:
    """Reads one `<annotation>`. Raises `DataError` with a reason where it is not one."""
    if len(content) > _MAX_BYTES or b"<!" in content.replace(b"<!--", b""):
        raise DataError("its annotation is larger or of another kind than such files are")
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
    """The part of the box inside an image of (width, height) pixels; None where no pixel is left."""
    left, top, right, bottom = max(0, box[0]), max(0, box[1]), min(width, box[2]), min(height, box[3])
    return (left, top, right, bottom) if left < right and top < bottom else None
