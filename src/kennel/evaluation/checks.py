"""Checks of the two image sets of an evaluation, and what the sets say about themselves."""

import numpy as np

from kennel.data.images import ImageSource
from kennel.data.resize import SizesError
from kennel.errors import JudgementError
from kennel.evaluation.score import RECOMMENDED_COUNT
from kennel.features.moments import IndexArray


def labels_of(images: ImageSource, rows: IndexArray | None) -> IndexArray | None:
    """The int64 labels of the chosen rows (all if `rows` is None); None for a set without labels."""
    labels = getattr(images, "labels", None)
    if labels is None:
        return None
    whole = np.asarray(labels, np.int64)
    return whole if rows is None else whole[rows]


def classes_of(images: ImageSource) -> tuple[str, ...]:
    return tuple(getattr(images, "classes", ()))


def class_names(reference: ImageSource) -> tuple[str, ...]:
    """The class names of a reference, or the class numbers if its labels have no names."""
    labels = labels_of(reference, None)
    if labels is None or len(labels) == 0 or classes_of(reference):
        return classes_of(reference)
    return tuple(str(number) for number in range(int(labels.max()) + 1))


def class_mismatch(images: ImageSource, reference: ImageSource) -> str:
    """Why two labeled sets cannot be compared class by class; an empty string if they can."""
    names, known = classes_of(images), class_names(reference)
    if unknown := [name for name in names if name not in known]:
        return f"{images.name} has classes that {reference.name} lacks ({', '.join(unknown[:3])})"
    measurable = []
    for side in (images, reference):
        labels, own = labels_of(side, None), classes_of(side) or known
        assert labels is not None
        frequent = np.flatnonzero(np.bincount(labels) >= 2)
        measurable.append({own[label] for label in frequent if label < len(own)})
    if measurable[0] & measurable[1]:
        return ""
    return f"no class has two images in {images.name} and in {reference.name}"


def has_pyramid(images: ImageSource) -> bool:
    _, height, width = images.shape
    return height == width and height >= 16 and height.bit_count() == 1


def check_sizes(images: ImageSource, reference: ImageSource) -> None:
    """Raises `SizesError` if height and width of the images differ from those of the reference."""
    if images.shape[1:] != reference.shape[1:]:
        given = f"{images.shape[2]}x{images.shape[1]}"
        expected = f"{reference.shape[2]}x{reference.shape[1]}"
        raise SizesError(
            f"{images.name} has images of {given}, the reference {reference.name} of {expected}",
            min(*images.shape[1:], *reference.shape[1:]),
        )


def check_count(count: int, source: str) -> None:
    """Raises `JudgementError` below 2 images, the minimum for a covariance."""
    if count < 2:
        raise JudgementError(
            f"{source} has {count} image{'' if count == 1 else 's'}: at least 2 are needed, and "
            f"{RECOMMENDED_COUNT:,} for a meaningful FID"
        )


def conversion_notes(images: ImageSource, reference: ImageSource, channels: int = 3) -> list[str]:
    """Sentences about images that were converted to color, converted to gray, or enlarged."""
    sides = (("images", images), ("reference", reference))
    converted = " and the ".join(side for side, given in sides if given.shape[0] != channels)
    action = "Gray repeated to RGB" if channels == 3 else "Color reduced to gray"
    notes = [f"{action} for the {converted}."] if converted else []
    for side, given in sides:
        if enlarged := getattr(given, "enlarged", 0):
            kind = "images" if side == "images" else "reference images"
            notes.append(f"{enlarged:,} of the {len(given):,} {kind} were enlarged.")
    return notes


def fit_of(images: ImageSource) -> str | None:
    """How the images were brought to the size of the set, in words; None if they had it."""
    return getattr(images, "fit", "") or None


def teacher_of(images: ImageSource) -> str | None:
    """The pretrained network that the images' generator was trained with; None if unknown or none."""
    teacher: str | None = getattr(images, "teacher", None)
    return teacher


def generated_count(images: ImageSource) -> int:
    """How many images are marked as drawn by a generator, by `kennel expand` or in the text of their PNGs."""
    return int(getattr(images, "generated_count", 0))
