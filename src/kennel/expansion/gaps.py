"""Which classes of a set have too few images, and whether a generator can fill them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kennel.data.dataset import ImageDataset
from kennel.errors import DataError, RunError
from kennel.sampling.load import LoadedRun
from kennel.sampling.loaded_generator import LoadedGenerator

FEWEST = 2
"""Real images that a class needs, so that copies can be recognized."""
FEW = 20
"""Fewer real images give a note: it is the least for which `kennel train` uses classes by itself."""


@dataclass(frozen=True)
class ClassGap:
    """A class with too few images: its `label` and `name`, how many are `real`, how many `missing`."""

    label: int
    name: str
    real: int
    missing: int


def missing_images(dataset: ImageDataset, to: int) -> tuple[ClassGap, ...]:
    """The classes with fewer than `to` images; none if nothing is to be done.

    Raises `DataError` for a set without classes, one that has generated images already, and a class with
    fewer than two images.
    """
    if dataset.labels is None or not dataset.classes:
        raise DataError(
            f"{dataset.name} has no classes: prepare it from a folder with a subfolder for each class"
        )
    if dataset.generated is not None:
        origin = dataset.about["generated"].get("expanded_from", {}).get("path", "the set it was made of")
        raise DataError(
            f"{dataset.name} has {dataset.generated_count:,} generated images already: expand {origin} "
            "instead"
        )
    counts = np.bincount(np.asarray(dataset.labels), minlength=len(dataset.classes)).tolist()
    gaps = tuple(
        ClassGap(label, name, count, to - count)
        for label, (name, count) in enumerate(zip(dataset.classes, counts, strict=True))
        if count < to
    )
    for gap in gaps:
        if gap.real < FEWEST:
            raise DataError(
                f"the class '{gap.name}' of {dataset.name} has {gap.real} image{'s' * (gap.real != 1)}, "
                f"which a generator can only copy: add some (at least {FEWEST}, better {FEW} or more), or "
                "leave the class out"
            )
    return gaps


def few_note(gaps: tuple[ClassGap, ...]) -> str:
    """A sentence about classes with very few images; empty if there are none."""
    small = [gap for gap in gaps if gap.real < FEW]
    if not small:
        return ""
    which = ", ".join(f"{gap.name} ({gap.real})" for gap in small[:5]) + (", ..." if len(small) > 5 else "")
    return (
        f"Classes with fewer than {FEW} real images: {which}. What a generator draws of them varies little."
    )


def check_generator(
    loaded: LoadedGenerator, dataset: ImageDataset, note: Callable[[str], None] = lambda text: None
) -> None:
    """Raises `RunError` unless the generator draws the set's classes at its size and in its colors.

    `note` gets a sentence if a run was trained on another set, whose images the guard does not know.
    """
    loaded.require_classes("--run")
    if tuple(loaded.classes) != dataset.classes:
        other = [name for name in loaded.classes if name not in dataset.classes][:3]
        missing = [name for name in dataset.classes if name not in loaded.classes][:3]
        parts = [f"it lacks {', '.join(missing)}"] * bool(missing) + [f"it has {', '.join(other)}"] * bool(
            other
        )
        raise RunError(
            f"the generator of {loaded.name} does not draw the classes of {dataset.name} "
            f"({'; '.join(parts) or 'their order differs'}): give a run of this set, or leave --run out"
        )
    spec = loaded.generator.spec
    given, expected = (spec.channels, spec.size, spec.size), dataset.shape
    if given != expected:
        raise RunError(
            f"the generator of {loaded.name} draws {_words(given)}, and {dataset.name} has "
            f"{_words(expected)}: give a run of this set, or leave --run out"
        )
    if isinstance(loaded, LoadedRun):
        data = loaded.folder.about()["data"]
        if data["fingerprint"] != dataset.fingerprint:
            note(
                f"{loaded.name} was trained on {data['path']}, not on {dataset.name}: copies of images that "
                "only that set has are not recognized."
            )


def _words(shape: tuple[int, int, int]) -> str:
    channels, height, width = shape
    return f"{width}x{height} {'gray' if channels == 1 else 'color'} images"


def check_destination(destination: Path, dataset: ImageDataset, overwrite: bool) -> None:
    """Raises `DataError` if the expanded set cannot be written to `destination`."""
    if destination.resolve() == dataset.path.resolve() or destination.resolve().is_relative_to(
        dataset.path.resolve()
    ):
        raise DataError(f"--out {destination} is the set itself or inside of it: give another folder")
    if not destination.exists() or (destination.is_dir() and not any(destination.iterdir())):
        return
    if not (destination / "dataset.json").is_file():
        raise DataError(f"--out {destination} exists and is not a packed set: give another folder")
    if not overwrite:
        raise DataError(f"--out {destination} exists: give another folder, or --overwrite to replace it")
