"""The parts of the study after the generators are trained: expanded sets and classifiers, each made once."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import TypeAdapter, ValidationError

from kennel.data.dataset import ImageDataset
from kennel.errors import DataError
from kennel.evaluation.copy_guard import guard_extractor
from kennel.expansion.expand import GuardOptions, expand
from kennel.expansion.gaps import check_generator, missing_images
from kennel.features.train_classifier import MAX_EPOCHS, class_accuracies
from kennel.sampling.load import LoadedRun, load_run
from kennel.storage.atomic_io import write_text
from kennel.storage.untrusted import UntrustedError, read_json
from kennel.studies.expand.config import ARMS, ExpandConfig
from kennel.studies.expand.sets import StudySets, arm_images
from kennel.studies.matrix import StudyRun

Bar = Callable[[str], Callable[[int, int], None]]
"""A progress bar with a name: `bar("drawing")` gives `report(done, total)`."""


@dataclass(frozen=True)
class ArmResult:
    """One classifier: its `arm` and `seed`, its `accuracies` by class on `test_counts` real test images, and
    on how many `training_images` it was trained. `key` is equal for equal inputs."""

    arm: str
    seed: int
    accuracies: tuple[float, ...]
    test_counts: tuple[int, ...]
    training_images: int
    key: str


@dataclass(frozen=True)
class SeedResult:
    """One seed: its expanded set, how many draws were `rejected`, and the result of every arm."""

    seed: int
    expanded: ImageDataset
    rejected: int
    arms: tuple[ArmResult, ...]


def seed_result(
    study: ExpandConfig, sets: StudySets, run: StudyRun, out: Path, device: torch.device, bar: Bar
) -> SeedResult:
    """Draws the expanded set of a trained run and trains its classifiers, except for what is there already.

    Raises `RunError` if the generator copies too much.
    """
    scarce = ImageDataset(run.set_path)
    loaded = load_run(run.path, device=device)
    place = out / "expanded" / f"seed-{run.seed}"
    expanded = _expanded(study, scarce, loaded, place, bar(f"seed {run.seed}: drawing"))
    rejected = sum(expanded.about["generated"]["guard"]["rejected"].values())
    # As for an extractor, small sets are not shown more than 60 times.
    budget = min(study.classifier_images, MAX_EPOCHS * len(expanded))
    test = sets.test.at(sets.test_rows)
    test_labels = np.asarray(sets.test.labels)[sets.test_rows]
    test_counts = np.bincount(test_labels, minlength=len(scarce.classes))
    results = []
    for arm in ARMS:
        file = out / "classifiers" / f"{arm}-seed-{run.seed}.json"
        made_of = expanded.fingerprint if arm != "scarce" else scarce.fingerprint
        key = f"{made_of}/{sets.test.fingerprint}/{len(test)}/{budget}/{device.type}"
        known = _read(file, key)
        if known is None:
            images, labels = arm_images(arm, scarce, expanded, run.seed)
            accuracies = class_accuracies(
                images,
                labels,
                test,
                test_labels,
                len(scarce.classes),
                total_images=budget,
                seed=run.seed,
                device=device,
                on_progress=bar(f"seed {run.seed}: classifier, {arm}"),
            )
            known = ArmResult(
                arm, run.seed, tuple(accuracies.tolist()), tuple(test_counts.tolist()), len(images), key
            )
            write_text(file, json.dumps(asdict(known), indent=1) + "\n")
        results.append(known)
    return SeedResult(run.seed, expanded, rejected, tuple(results))


def _expanded(
    study: ExpandConfig,
    scarce: ImageDataset,
    loaded: LoadedRun,
    place: Path,
    on_progress: Callable[[int, int], None],
) -> ImageDataset:
    """The expanded set, drawn again if the generator or the settings have changed."""
    assert scarce.labels is not None
    to = study.to or int(np.bincount(np.asarray(scarce.labels)).max())
    gaps = missing_images(scarce, to)
    if not gaps:
        raise DataError(f"{scarce.name} has no class with fewer than {to} images: lower keep, or raise to")
    check_generator(loaded, scarce)
    guard = GuardOptions(
        guard_extractor("auto", scarce.shape[2], loaded.teacher, torch.device("cpu")),
        study.quantile,
        study.max_rejected,
    )
    if (place / "dataset.json").is_file():
        found = ImageDataset(place)
        about: dict[str, Any] = found.about.get("generated") or {}
        own = about.get("guard", {})
        if (
            about.get("generator_fingerprint") == loaded.fingerprint
            and about.get("expanded_from", {}).get("fingerprint") == scarce.fingerprint
            and about.get("count") == sum(gap.missing for gap in gaps)
            and (own.get("quantile"), own.get("extractor")) == (study.quantile, guard.extractor.name)
        ):
            return found
    return expand(scarce, gaps, loaded, place, guard, on_progress=on_progress).dataset


def _read(file: Path, key: str) -> ArmResult | None:
    """A finished classifier's result; None if it is not there, damaged, or of other inputs."""
    if not file.is_file():
        return None
    try:
        found = TypeAdapter(ArmResult).validate_python(read_json(file))
    except (UntrustedError, ValidationError):
        return None
    return found if found.key == key else None


def balanced(result: ArmResult, labels: Sequence[int]) -> float:
    """The mean of the accuracies of these classes: every class counts equally."""
    return float(np.mean([result.accuracies[label] for label in labels]))
