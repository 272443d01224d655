"""Comparison of checkpoints of one run: same seeds, scores, sample distances, singular values."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kennel import rng
from kennel.comparison.picture import side_by_side
from kennel.data.images import ImageSource, PixelArray, read_rows
from kennel.errors import RunError
from kennel.evaluation.judge import Evaluator
from kennel.evaluation.metrics.context import MetricSettings
from kennel.evaluation.score import Score
from kennel.features.extract import choose_rows
from kennel.images import save_png
from kennel.sampling.load import LoadedRun, epoch_of, load_networks
from kennel.sampling.png_metadata import grid_text
from kennel.sampling.sampler import SampledSet
from kennel.techniques import Networks
from kennel.techniques._power_iteration import WARM_UP, leading_singular_values, random_start
from kennel.techniques._weight_matrices import weight_matrices
from kennel.training.alarms.batch_diversity import nearest_distance

ITERATED_VALUES = 8
"""Singular values that are iterated for the largest one: the additional ones make it converge."""
MAX_DISTANCE_IMAGES = 2048  # Maximum number of images for the mean nearest distance

SingularValues = dict[str, dict[str, float]]
"""The largest singular value of each trained weight, by network and layer."""


@dataclass(frozen=True)
class CheckpointScores:
    """The measurements of one checkpoint. `epoch` is None if the run does not record the size of its set.
    `distance` is the mean distance of a sample to its nearest other sample, in pixel values of [-1, 1], as in
    `monitor.diversity`."""

    images_seen: int
    epoch: float | None
    judgements: tuple[Score, ...]
    distance: float
    singular_values: SingularValues
    grid: PixelArray

    def title(self) -> str:
        images = f"{self.images_seen:,} images"
        return images if self.epoch is None else f"epoch {self.epoch:.4g} ({images})"

    def to_json(self) -> dict[str, Any]:
        """All measurements except the images."""
        return {
            "images": self.images_seen,
            "epoch": self.epoch,
            "judgements": [judgement.model_dump(mode="json") for judgement in self.judgements],
            "nearest_distance": self.distance,
            "singular_values": self.singular_values,
        }


@dataclass(frozen=True)
class ComparisonSettings:
    """What to measure: `count` samples from the first seed on, `shown` of them in the picture."""

    evaluator: Evaluator
    metrics: Sequence[str] | None
    count: int
    shown: int
    settings: MetricSettings
    truncation: float | None = None

    @property
    def measured(self) -> int:
        """The number of images for the mean nearest distance."""
        return min(self.count, len(self.evaluator.reference), MAX_DISTANCE_IMAGES)


def load_checkpoints(
    run: Path, which: Sequence[str], device: torch.device
) -> list[tuple[LoadedRun, Networks]]:
    """The checkpoints that are asked for, oldest first; `RunError` where they are not two different ones."""
    found = sorted((load_networks(run, one, device) for one in which), key=lambda pair: pair[0].images_seen)
    for (older, _), (newer, _) in pairwise(found):
        if older.images_seen == newer.images_seen:
            raise RunError(
                f"two of {', '.join(which)} are the same checkpoint, at {older.images_seen:,} images: give "
                "different ones"
            )
    if len(found) < 2:
        raise RunError(f"only one checkpoint is given ({which[0]}): give at least two")
    return found


def evaluate_checkpoint(
    loaded: LoadedRun, networks: Networks, wanted: ComparisonSettings, on_progress: Callable[[int, int], None]
) -> CheckpointScores:
    seed = wanted.settings.seed
    samples = loaded.samples(wanted.count, seed, wanted.truncation)
    name = f"{loaded.folder.path} at {loaded.images_seen:,} images"
    if wanted.truncation is not None:
        name += f", truncation {wanted.truncation}"
    classes = tuple(loaded.folder.about()["data"]["classes"])
    images = SampledSet(samples, name, loaded.fingerprint, classes, loaded.teacher)
    judgements = wanted.evaluator.judge(
        images, wanted.metrics, count=wanted.count, settings=wanted.settings, on_progress=on_progress
    )
    return CheckpointScores(
        loaded.images_seen,
        epoch_of(loaded.folder, loaded.images_seen),
        tuple(judgements),
        mean_nearest_distance(images, wanted.measured, seed),
        largest_singular_values(networks),
        loaded.samples(wanted.shown, seed, wanted.truncation).pixels(),
    )


def mean_nearest_distance(images: ImageSource, count: int, seed: int) -> float:
    """The mean distance of an image to its nearest other, among `count` drawn by `seed`."""
    rows = choose_rows(len(images), count, seed)
    pixels = read_rows(images, np.arange(count) if rows is None else rows)
    return float(nearest_distance(torch.from_numpy(pixels).float() / 127.5 - 1))


def largest_singular_values(networks: Networks) -> SingularValues:
    """The largest singular value of every trained weight, before spectral normalization. NaN if a weight is
    not finite."""
    found: SingularValues = {}
    for role, network in (("generator", networks.generator), ("discriminator", networks.discriminator)):
        found[role] = {}
        for name, one in weight_matrices(network, embeddings=True).items():
            matrix = one.matrix().detach().float().cpu()
            layer = name.removesuffix(".parametrizations.weight.original").removesuffix(".weight")
            value = float("nan")
            if bool(matrix.isfinite().all()):
                random = rng.generator(0, f"comparing {role} {name}")
                start = random_start(len(matrix), min(ITERATED_VALUES, *matrix.shape), random)
                value = float(leading_singular_values(matrix, start, WARM_UP).values[0])
            found[role][layer] = value
    return found


def fastest_growing(
    before: CheckpointScores, after: CheckpointScores, role: str
) -> list[tuple[str, float, float]]:
    """The three layers of a network that grew by the largest factor: name, value before, value after."""
    old, new = before.singular_values[role], after.singular_values[role]
    by_factor = sorted(old, key=lambda layer: -_factor(old[layer], new[layer]))
    return [(layer, old[layer], new[layer]) for layer in by_factor[:3]]


def _factor(before: float, after: float) -> float:
    factor = after / before if before else math.inf
    return math.inf if math.isnan(factor) else factor  # sorted first


def check_png_name(destination: Path) -> None:
    """Raises `RunError` if the path does not end in .png."""
    if destination.suffix.lower() != ".png":
        raise RunError(f"--out is {destination}: give a file name that ends in .png")


def write_picture(
    destination: Path, found: Sequence[CheckpointScores], loaded: LoadedRun, first_seed: int
) -> None:
    """Writes the grids side by side, oldest left, each below its title. Equal positions have equal seeds."""
    picture = side_by_side([one.grid for one in found], [one.title() for one in found])
    seeds = range(first_seed, first_seed + len(found[0].grid))
    text = grid_text(loaded.folder.fingerprint(), found[-1].images_seen, seeds, loaded.teacher)
    text["kennel:images_seen"] = ", ".join(str(one.images_seen) for one in found)
    destination.parent.mkdir(parents=True, exist_ok=True)
    save_png(destination, picture, text)
