"""What two sets must have, and have in common, to be judged by one another."""

import numpy as np

from kennel.data.images import ImageSource
from kennel.data.resize import SizesError
from kennel.errors import JudgementError
from kennel.evaluation.metrics._nearest import IndexArray
from kennel.evaluation.score import ENOUGH


def labels_of(images: ImageSource, rows: IndexArray | None) -> IndexArray | None:
    """The labels that a set carries, of the chosen rows."""
    labels = getattr(images, "labels", None)
    if labels is None:
        return None
    whole = np.asarray(labels, np.int64)
    return whole if rows is None else whole[rows]


def unshared_classes(images: ImageSource, reference: ImageSource) -> str:
    """Why two labelled sets share no class that could be measured; empty where they do."""
    names, known = classes_of(images), numbered(reference)
    if unknown := [name for name in names if name not in known]:
        return f"{images.name} has classes that {reference.name} lacks ({', '.join(unknown[:3])})"
    counts = []
    for side in (images, reference):
        labels, own = labels_of(side, None), classes_of(side) or known
        assert labels is not None
        often = np.flatnonzero(np.bincount(labels) >= 2)
        counts.append({own[label] for label in often if label < len(own)})
    if counts[0] & counts[1]:
        return ""
    return f"no class has two images in {images.name} and in {reference.name}"


def has_pyramid(images: ImageSource) -> bool:
    _, height, width = images.shape
    return height == width and height >= 16 and height.bit_count() == 1


def classes_of(images: ImageSource) -> tuple[str, ...]:
    return tuple(getattr(images, "classes", ()))


def check_sizes(images: ImageSource, reference: ImageSource) -> None:
    """Refuses images of another height and width than the reference's with a `SizesError`."""
    if images.shape[1:] != reference.shape[1:]:
        given = f"{images.shape[2]}x{images.shape[1]}"
        wanted = f"{reference.shape[2]}x{reference.shape[1]}"
        raise SizesError(
            f"{images.name} has images of {given}, the reference {reference.name} of {wanted}",
            min(*images.shape[1:], *reference.shape[1:]),
        )


def check_count(count: int, what: str) -> None:
    """Refuses fewer than 2 images, of which no covariance can be taken."""
    if count < 2:
        raise JudgementError(
            f"{what} gives {count} image{'' if count == 1 else 's'} to judge: at least 2 are needed, and "
            f"{ENOUGH:,} for a FID that means something"
        )


def conversions(images: ImageSource, reference: ImageSource, channels: int = 3) -> list[str]:
    """Sentences about pictures that were judged as colour, as grey or as larger, which they are not."""
    sides = (("images", images), ("reference", reference))
    others = " and the ".join(side for side, given in sides if given.shape[0] != channels)
    done = "Grey repeated to RGB" if channels == 3 else "Colour reduced to grey"
    found = [f"{done} on the side of the {others}."] if others else []
    for side, given in sides:
        if enlarged := getattr(given, "enlarged", 0):
            found.append(f"{enlarged:,} of the {len(given):,} pictures of the {side} were enlarged.")
    return found


def fit_of(images: ImageSource) -> str | None:
    """How the pictures of a set were brought to its size, in words; None where they had it."""
    return getattr(images, "fit", "") or None


def teacher_of(images: ImageSource) -> str | None:
    """The pretrained network that taught the generator of these images, where the set knows of one."""
    teacher: str | None = getattr(images, "teacher", None)
    return teacher


def numbered(reference: ImageSource) -> tuple[str, ...]:
    """The classes of a reference; where its labels have no names, their numbers."""
    labels = labels_of(reference, None)
    if labels is None or len(labels) == 0 or classes_of(reference):
        return classes_of(reference)
    return tuple(str(number) for number in range(int(labels.max()) + 1))
