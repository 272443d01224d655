"""Applies the cleaning rules to one image: which part is used, whether it is kept, and its pixels."""

from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from PIL import Image

from kennel.data.images import PixelArray, channels_first
from kennel.data.sources.annotations import Annotation, Box, clip
from kennel.data.sources.collection import Collection
from kennel.data.sources.decode import Picture, Reading, TooManyPixelsError, upright, upright_size
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
"""Reasons that count for `--max-bad`: faulty files, not the user's choices."""

_FILTERS = {
    "lanczos": Image.Resampling.LANCZOS,
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "box": Image.Resampling.BOX,
    "nearest": Image.Resampling.NEAREST,
}


class Outcome(NamedTuple):
    """The result for one candidate: an image, or a box of an image.

    `reason` is why it is dropped, or None; `width` and `height` are source pixels, 0 if unknown; `pixels`
    (C, size, size) are None if it is dropped or in a dry run; for `remarks` see `Picture`.
    """

    name: str
    reason: str | None
    detail: str = ""
    width: int = 0
    height: int = 0
    pixels: PixelArray | None = None
    label: int = -1
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rules:
    """The rules of a run.

    `size` is the side of the packed images, `least` the shortest side of a kept crop. `mostly_small`: most
    images are smaller than half of `size`, so by default none is dropped for it.
    """

    options: PrepareOptions
    size: int
    least: int
    reading: Reading
    mostly_small: bool = False


def examine(collection: Collection, index: int, rules: Rules, *, headers_only: bool) -> list[Outcome]:
    """The outcome of image `index`, or one for each of its boxes. Raises nothing for a bad file.

    `headers_only` reads headers and annotations and decodes nothing. With `options.crop` "box" the rules
    apply to the annotated box in stored pixels, before EXIF rotation.
    """
    name = collection.name(index)
    try:
        outcomes = _examine(collection, index, name, rules, headers_only)
        return [outcome._replace(label=collection.label(index)) for outcome in outcomes]
    except TooManyPixelsError as error:
        return [Outcome(name, TOO_MANY_PIXELS, str(error))]
    except DataError as error:
        return [Outcome(name, BROKEN, str(error))]


def _examine(
    collection: Collection, index: int, name: str, rules: Rules, headers_only: bool
) -> list[Outcome]:
    options = rules.options
    use_boxes = options.crop == "box"
    annotation = collection.annotation(index) if use_boxes or collection.annotations_only else None
    if use_boxes and annotation is None:
        return [Outcome(name, NO_ANNOTATION, "it has no annotation, but --crop box needs one")]
    if collection.annotations_only:
        assert annotation is not None
        return _apply_rules(name, annotation, annotation.width, annotation.height, rules)

    content = collection.read(index)
    width, height, orientation = collection.header(content, options.max_pixels, name)
    if annotation is not None and _mismatch(annotation, width, height):
        detail = (
            f"the annotation is of {annotation.width} x {annotation.height} pixels, it has {width} x {height}"
        )
        return [Outcome(name, BAD_ANNOTATION, detail)]
    shown = (width, height) if use_boxes else upright_size(width, height, orientation)
    outcomes = _apply_rules(name, annotation if use_boxes else None, *shown, rules)
    if headers_only or all(outcome.reason for outcome in outcomes):
        return outcomes

    picture = collection.load(content, rules.reading, name)
    boxes = _selected_boxes(annotation, options)
    return [
        _with_pixels(outcome, picture, box, rules) if outcome.reason is None else outcome
        for outcome, box in zip(outcomes, boxes, strict=True)
    ]


def _with_pixels(outcome: Outcome, picture: Picture, box: Box | None, rules: Rules) -> Outcome:
    """The outcome with its pixels. A truncated image may have fewer rows than its header announces."""
    image = picture.image
    if box is not None:
        clipped = clip(box, image.width, image.height)
        if clipped is None:
            return outcome._replace(reason=BROKEN, detail="it is cut short above its box")
        image = image.crop(clipped)
    image = _center_crop(upright(image, picture.orientation), rules.options.center_crop)
    return outcome._replace(pixels=to_square(image, rules.size, rules.options), remarks=picture.remarks)


def _center_crop(image: Image.Image, side: int | None) -> Image.Image:
    """The center square of `side` pixels; an odd remaining pixel is cut at the right or bottom."""
    if side is None:
        return image
    side = min(side, *image.size)  # a truncated file may have fewer rows
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))


def _selected_boxes(annotation: Annotation | None, options: PrepareOptions) -> tuple[Box | None, ...]:
    """The boxes to crop to; (None,) is the whole image."""
    if options.crop != "box" or annotation is None:
        return (None,)
    return annotation.boxes if options.boxes == "all" else annotation.boxes[:1]


def _apply_rules(
    name: str, annotation: Annotation | None, width: int, height: int, rules: Rules
) -> list[Outcome]:
    """The outcome of each selected part of an image of (width, height) pixels, without its pixels."""
    options = rules.options
    boxes = _selected_boxes(annotation, options)
    if not boxes:
        return [Outcome(name, NO_ANNOTATION, "its annotation has no box")]
    outcomes = []
    for number, box in enumerate(boxes):
        part = f"{name}#{number}" if len(boxes) > 1 else name
        # An annotation without the image's size cannot be clipped without the image.
        clipped = (0, 0, width, height) if box is None else clip(box, width or box[2], height or box[3])
        if clipped is None:
            outcomes.append(Outcome(part, EMPTY_BOX, f"the box {box} has no pixel inside {width} x {height}"))
            continue
        across, down = clipped[2] - clipped[0], clipped[3] - clipped[1]
        reason = None
        if options.center_crop is not None and min(across, down) >= options.center_crop:
            across = down = options.center_crop
        if min(across, down) < max(rules.least, options.center_crop or 0):
            reason = TOO_SMALL
        elif options.aspect is not None and not within(across, down, options.aspect):
            reason = ASPECT
        outcomes.append(Outcome(part, reason, f"{across} x {down}" if reason else "", across, down))
    return outcomes


def within(width: int, height: int, aspect: tuple[Fraction, Fraction]) -> bool:
    """Whether low <= width / height <= high, exactly: 80 x 100 is inside 0.8:1.25."""
    return aspect[0] <= Fraction(width, height) <= aspect[1]


def _mismatch(annotation: Annotation, width: int, height: int) -> bool:
    """Whether the annotation has a size, and it is another one."""
    known = annotation.width > 0 and annotation.height > 0
    return known and (annotation.width, annotation.height) != (width, height)


def to_square(image: Image.Image, size: int, options: PrepareOptions) -> PixelArray:
    """The image as uint8 (C, size, size), antialiased; gray stays one channel unless RGB is requested."""
    mode = {"rgb": "RGB", "grey": "L"}.get(options.color, image.mode)
    image = image.convert(mode) if image.mode != mode else image
    return np.ascontiguousarray(channels_first(np.asarray(_fitted(image, size, options))))


def _fitted(image: Image.Image, size: int, options: PrepareOptions) -> Image.Image:
    width, height = image.size
    resample = _FILTERS[options.resample]
    if (width, height) == (size, size):
        return image
    if options.fit == "squash" or width == height:
        return image.resize((size, size), resample)
    if options.fit == "crop":
        # Resizes only the center square, which avoids rounding the longer side.
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        return image.resize((size, size), resample, box=(left, top, left + side, top + side))
    longer = max(width, height)
    inner = max(1, round(width * size / longer)), max(1, round(height * size / longer))
    padded = Image.new(image.mode, (size, size))
    padded.paste(image.resize(inner, resample), ((size - inner[0]) // 2, (size - inner[1]) // 2))
    return padded
