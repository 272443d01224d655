"""Writes the packed set of all real images and of the generated ones that fill up its classes."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import kennel
from kennel.data.dataset import ImageDataset
from kennel.data.prepare.from_set import GENERATED, copy_rows, writer_like
from kennel.errors import RunError
from kennel.evaluation.copy_guard import QUANTILE, CopyGuard
from kennel.expansion.draw import MAX_REJECTED, AcceptedImages
from kennel.expansion.gaps import ClassGap
from kennel.features.base import Extractor
from kennel.sampling.loaded_generator import LoadedGenerator
from kennel.storage.atomic_io import atomic_folder
from kennel.storage.untrusted import printable

EXPANDED = "a packed set, filled up with generated images"
"""The recorded kind of an expanded set."""


@dataclass(frozen=True)
class ExpandedClass:
    """One class: its name, the number of `real` and `generated` images, and how many draws were `rejected`
    because they were at most `threshold` away from a training image, or repetitions."""

    name: str
    real: int
    generated: int
    rejected: int
    threshold: float


@dataclass(frozen=True)
class Expansion:
    """The expanded set, and what was done in each class that was filled up."""

    dataset: ImageDataset
    classes: tuple[ExpandedClass, ...]


@dataclass(frozen=True)
class GuardOptions:
    """How copies are recognized: see `CopyGuard`; `max_rejected` is the largest share of rejected draws."""

    extractor: Extractor
    quantile: float = QUANTILE
    max_rejected: float = MAX_REJECTED


def expand(
    dataset: ImageDataset,
    gaps: tuple[ClassGap, ...],
    loaded: LoadedGenerator,
    destination: Path,
    guard: GuardOptions,
    *,
    seed: int = 0,
    truncation: float | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Expansion:
    """Writes all images of `dataset`, unchanged, then the generated ones that fill `gaps`, to `destination`.

    Seeds run on from `seed`, class by class. The set's `generated.npy` marks the generated images, and
    `dataset.json` says under `generated` what drew them. A packed set at `destination` is replaced, and only
    when the new one is complete. Raises `RunError` if too many draws are copies.
    """
    if not 0 <= guard.max_rejected < 1:
        raise RunError(
            f"--max-rejected is {guard.max_rejected:g}: give a share from 0 to below 1, such as 0.5"
        )
    total = sum(gap.missing for gap in gaps)
    done: list[ExpandedClass] = []
    with atomic_folder(destination) as folder:
        writer = writer_like(dataset, folder)
        try:
            copy_rows(writer, dataset, range(len(dataset)))
            next_seed = seed
            for gap in gaps:
                own = np.flatnonzero(np.asarray(dataset.labels) == gap.label)
                copies = CopyGuard(dataset.at(own), guard.extractor, quantile=guard.quantile)
                images = AcceptedImages(
                    loaded, gap, copies, next_seed, max_rejected=guard.max_rejected, truncation=truncation
                )
                place = printable(gap.name).replace("/", "_")
                for number, pixels in images:
                    name = f"{GENERATED}/{place}/{number:08}.png"
                    writer.add(pixels, gap.label, name, keep_duplicate=True)
                    if on_progress is not None:
                        on_progress(len(writer) - len(dataset), total)
                next_seed = images.next_seed
                done.append(ExpandedClass(gap.name, gap.real, gap.missing, images.rejected, copies.threshold))
            np.save(folder / "generated.npy", np.arange(len(writer)) >= len(dataset))
            writer.finish(_about(dataset, gaps, loaded, guard, seed, truncation, done))
        finally:
            writer.close()
    return Expansion(ImageDataset(destination), tuple(done))


def _about(
    dataset: ImageDataset,
    gaps: tuple[ClassGap, ...],
    loaded: LoadedGenerator,
    guard: GuardOptions,
    seed: int,
    truncation: float | None,
    done: list[ExpandedClass],
) -> dict[str, Any]:
    """The fields of `dataset.json` that say where the images come from."""
    missing = {gap.label: gap.missing for gap in gaps}
    origin = {"path": str(dataset.path), "fingerprint": dataset.fingerprint, "count": len(dataset)}
    provenance = {
        "source": str(dataset.path),
        "kind": EXPANDED,
        "kennel": kennel.__version__,
        "of": dataset.about.get("provenance", {}),
    }
    generated = {
        "count": sum(missing.values()),
        "class_counts": [missing.get(label, 0) for label in range(len(dataset.classes))],
        "generator": loaded.name,
        "generator_fingerprint": loaded.fingerprint,
        "images_seen": loaded.images_seen,
        "teacher": loaded.teacher,
        "seed": seed,
        "truncation": truncation,
        "expanded_from": origin,
        "guard": {
            "extractor": guard.extractor.name,
            "quantile": guard.quantile,
            "max_rejected": guard.max_rejected,
            "thresholds": {one.name: one.threshold for one in done},
            "rejected": {one.name: one.rejected for one in done},
        },
    }
    return {"provenance": provenance, "generated": generated}
