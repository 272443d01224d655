"""One picture through the rules: which part of it is wanted, whether that part is kept, and its pixels."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from kennel.data.images import PixelArray
from kennel.data.sources.annotations import Annotation, Box, clip
from kennel.data.sources.decode import Picture, Reading, TooManyPixelsError, upright, upright_size
from kennel.data.sources.index import Collection
from kennel.data.sources.options import PrepareOptions
from kennel.errors import DataError

BROKEN = "broken"
TOO_MANY_PIXELS = "too many pixels"
BAD_ANNOTATION = "annotation does not fit"
NO_ANNOTATION = "no annotation"
EMPTY_BOX = "empty box"
TOO_SMALL = "too small"
ASPECT = "aspect"
EXCLUDED = "excluded"
DUPLICATE = "duplicate"

BAD_REASONS = frozenset((BROKEN, TOO_MANY_PIXELS, BAD_ANNOTATION, "unsafe path"))
"""What counts towards `--max-bad`: faults of the files, not wishes of the user."""

_FILTERS = {
    "lanczos": Image.Resampling.LANCZOS,
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "box": Image.Resampling.BOX,
    "nearest": Image.Resampling.NEAREST,
}


class Outcome(NamedTuple):
    """What became of one candidate: one picture, or one box of a picture."""

    name: str
    reason: str | None
    """Why it is dropped, None where it is kept."""
    detail: str = ""
    width: int = 0
    """Of the candidate in pixels of the source, 0 where they could not be found out."""
    height: int = 0
    pixels: PixelArray | None = None
    """(C, size, size) of what is kept; None in a rehearsal."""
    label: int = -1
    remarks: tuple[str, ...] = ()
    """What was decided about its pixels; see `decoding.Picture`."""


@dataclass(frozen=True)
class Rules:
    """What the pictures of a run are held against."""

    options: PrepareOptions
    size: int
    """Side of the packed images."""
    least: int
    """Least shorter side of what is packed of a picture."""
    reading: Reading
    mostly_small: bool = False
    """Whether most pictures are smaller than half of `size`, so that none is dropped for it by default."""


def examine(collection: Collection, index: int, rules: Rules, *, rehearse: bool) -> list[Outcome]:
    """The outcomes of picture `index`: one, or one for each box. Raises nothing that a file can cause.

    A rehearsal reads headers and annotations and decodes nothing. With `options.crop` "box" the rules are
    applied to the box as it is annotated, in stored pixels, before EXIF rotation.
    """
    name = collection.name(index)
    try:
        outcomes = _examine(collection, index, name, rules, rehearse)
        return [outcome._replace(label=collection.label(index)) for outcome in outcomes]
    except TooManyPixelsError as error:
        return [Outcome(name, TOO_MANY_PIXELS, str(error))]
    except DataError as error:
        return [Outcome(name, BROKEN, str(error))]


def _examine(collection: Collection, index: int, name: str, rules: Rules, rehearse: bool) -> list[Outcome]:
    options = rules.options
    use_boxes = options.crop == "box"
    annotation = collection.annotation(index) if use_boxes or collection.annotations_only else None
    if use_boxes and annotation is None:
        return [Outcome(name, NO_ANNOTATION, "nothing is annotated about it, and --crop box was asked for")]
    if collection.annotations_only:
        assert annotation is not None
        return _judge(name, annotation, annotation.width, annotation.height, rules)

    content: Any = collection.read(index)  # of the kind that this collection takes back
    width, height, orientation = collection.header(content, options.max_pixels, name)
    if annotation is not None and _mismatch(annotation, width, height):
        detail = (
            f"the annotation is of {annotation.width} x {annotation.height} pixels, it has {width} x {height}"
        )
        return [Outcome(name, BAD_ANNOTATION, detail)]
    shown = (width, height) if use_boxes else upright_size(width, height, orientation)
    outcomes = _judge(name, annotation if use_boxes else None, *shown, rules)
    if rehearse or all(outcome.reason for outcome in outcomes):
        return outcomes

    picture = collection.load(content, rules.reading, name)
    boxes = _wanted(annotation, options)
    return [
        _packed(outcome, picture, box, rules) if outcome.reason is None else outcome
        for outcome, box in zip(outcomes, boxes, strict=True)
    ]


def _packed(outcome: Outcome, picture: Picture, box: Box | None, rules: Rules) -> Outcome:
    """The outcome with its pixels. A picture that is cut short may have fewer rows than its header said."""
    image = picture.image
    if box is not None:
        clipped = clip(box, image.width, image.height)
        if clipped is None:
            return outcome._replace(reason=BROKEN, detail="it is cut short above its box")
        image = image.crop(clipped)
    image = _centre(upright(image, picture.orientation), rules.options.centre_crop)
    return outcome._replace(pixels=to_square(image, rules.size, rules.options), remarks=picture.remarks)


def _centre(image: Image.Image, side: int | None) -> Image.Image:
    """The centre square of `side` pixels; what remains has the odd pixel on the right or below."""
    if side is None:
        return image
    side = min(side, *image.size)  # rows that a cut-short file lacks
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))


def _wanted(annotation: Annotation | None, options: PrepareOptions) -> tuple[Box | None, ...]:
    """The boxes to crop to; (None,) is the whole picture."""
    if options.crop != "box" or annotation is None:
        return (None,)
    return annotation.boxes if options.boxes == "all" else annotation.boxes[:1]


def _judge(name: str, annotation: Annotation | None, width: int, height: int, rules: Rules) -> list[Outcome]:
    """The outcome of each wanted part of a picture of (width, height) pixels, by the rules alone."""
    options = rules.options
    boxes = _wanted(annotation, options)
    if not boxes:
        return [Outcome(name, NO_ANNOTATION, "its annotation holds no box")]
    outcomes = []
    for number, box in enumerate(boxes):
        part = f"{name}#{number}" if len(boxes) > 1 else name
        # An annotation that does not say how large its picture is cannot be clipped without the picture.
        clipped = (0, 0, width, height) if box is None else clip(box, width or box[2], height or box[3])
        if clipped is None:
            outcomes.append(Outcome(part, EMPTY_BOX, f"the box {box} has no pixel inside {width} x {height}"))
            continue
        across, down = clipped[2] - clipped[0], clipped[3] - clipped[1]
        reason = None
        if options.centre_crop is not None and min(across, down) >= options.centre_crop:
            across = down = options.centre_crop
        if min(across, down) < max(rules.least, options.centre_crop or 0):
            reason = TOO_SMALL
        elif options.aspect is not None and not within(across, down, options.aspect):
            reason = ASPECT
        outcomes.append(Outcome(part, reason, f"{across} x {down}" if reason else "", across, down))
    return outcomes


def within(width: int, height: int, aspect: tuple[Fraction, Fraction]) -> bool:
    """Whether low <= width / height <= high, in integers: 80 x 100 is inside 0.8:1.25."""
    low, high = aspect
    return (
        low.numerator * height <= width * low.denominator
        and width * high.denominator <= high.numerator * height
    )


def _mismatch(annotation: Annotation, width: int, height: int) -> bool:
    """Whether the boxes are of a picture of another size; an annotation may leave the size out."""
    known = annotation.width > 0 and annotation.height > 0
    return known and (annotation.width, annotation.height) != (width, height)


def to_square(image: Image.Image, size: int, options: PrepareOptions) -> PixelArray:
    """The picture as uint8 (C, size, size): grey keeps one channel unless RGB is asked for.

    Pillow's filters widen with the reduction, so that making a picture smaller is antialiased.
    """
    mode = {"rgb": "RGB", "grey": "L"}.get(options.colour, image.mode)
    image = image.convert(mode) if image.mode != mode else image
    image = _fitted(image, size, options)
    pixels = np.asarray(image)
    return np.ascontiguousarray(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1))


def _fitted(image: Image.Image, size: int, options: PrepareOptions) -> Image.Image:
    width, height = image.size
    how = _FILTERS[options.resample]
    if (width, height) == (size, size):
        return image
    if options.fit == "squash" or width == height:
        return image.resize((size, size), how)
    if options.fit == "crop":
        # The centre square, resized at once: as resizing the shorter side and then cropping, without the
        # rounding of the longer side.
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        return image.resize((size, size), how, box=(left, top, left + side, top + side))
    longer = max(width, height)
    inner = max(1, round(width * size / longer)), max(1, round(height * size / longer))
    padded = Image.new(image.mode, (size, size))
    padded.paste(image.resize(inner, how), ((size - inner[0]) // 2, (size - inner[1]) // 2))
    return padded
