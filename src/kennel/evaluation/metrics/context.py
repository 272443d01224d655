"""The data of one evaluation. Values that several metrics need are computed once."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import torch

from kennel.data.images import ImageSource
from kennel.errors import JudgementError
from kennel.evaluation.metrics.fid import frechet_distance, standard_error
from kennel.evaluation.metrics.inception_score import SHUFFLE_SEED, SPLITS
from kennel.evaluation.metrics.mifid import (
    EPSILON,
    NearestTraining,
    Neighborhoods,
    distances_within,
    nearest_distances,
    nearest_training,
    neighborhoods,
)
from kennel.evaluation.metrics.prdc import DENSITY_NEIGHBORS, NEIGHBORS, Manifolds, manifolds
from kennel.features.moments import Float64Array, FloatArray, IndexArray, Moments, moments

T = TypeVar("T")
NORMAL_95 = 1.959964  # Half the width of the central 95% of a normal distribution, in standard deviations


@dataclass(frozen=True)
class MetricSettings:
    """The settings of metrics.

    `splits` and `shuffle_seed` of the Inception Score; MiFID's `epsilon`; `neighbors`, k of precision, recall
    and F1; `density_neighbors`, k of density and coverage; `floor`, whether to compare halves of the
    reference; `intervals`, whether to compute them; `seed` of all random choices; `device` of the large
    products.
    """

    splits: int = SPLITS
    shuffle_seed: int | None = SHUFFLE_SEED
    epsilon: float = EPSILON
    neighbors: int = NEIGHBORS
    density_neighbors: int = DENSITY_NEIGHBORS
    floor: bool = False
    intervals: bool = True
    seed: int = 0
    device: torch.device | str = "cpu"


@dataclass(frozen=True)
class FeatureSide:
    """One side of an evaluation.

    `features` float32 (count, dimension), possibly memory-mapped; `logits` float32 (count, classes) of the
    evaluated images, None for the reference or without a classifier; `predictions` int64 (count,), the
    extractor's classes; `labels` int64 (count,), the images' own classes, with names in `classes`; `source`
    and `rows`: which images these are (all if `rows` is None).
    """

    features: FloatArray
    logits: FloatArray | None = None
    predictions: IndexArray | None = None
    labels: IndexArray | None = None
    classes: tuple[str, ...] = ()
    source: ImageSource | None = None
    rows: IndexArray | None = None

    def __len__(self) -> int:
        return len(self.features)


@dataclass(frozen=True)
class ReferenceSplit:
    """Two disjoint random halves of the reference against each other: the score of a perfect generator. `fid`
    between them, MiFID's `distance` of one to the other, `count` images a side."""

    fid: float
    distance: float
    count: int


@dataclass(frozen=True)
class MetricContext:
    """Both sides of an evaluation, its settings, and values derived from them. `reference_moments` are those
    of `reference.features`; `extractor` is its name; `held_out` are real images outside the reference, or
    None."""

    images: FeatureSide
    reference: FeatureSide
    reference_moments: Moments
    extractor: str
    settings: MetricSettings = field(default_factory=MetricSettings)
    held_out: FeatureSide | None = None
    _kept: dict[str, Any] = field(default_factory=dict, repr=False)

    @cached_property
    def images_moments(self) -> Moments:
        return moments(self.images.features)

    @cached_property
    def fid(self) -> float:
        return frechet_distance(self.images_moments, self.reference_moments)

    @cached_property
    def fid_interval(self) -> tuple[float, float] | None:
        """The 95% interval of `fid` by its standard error; see `fid.standard_error`."""
        if not self.settings.intervals:
            return None
        error = standard_error(
            self.images_moments, self.reference_moments, self.images.features, self.reference.features
        )
        return None if error is None else normal_interval(self.fid, error, minimum=0.0)

    @cached_property
    def nearest(self) -> NearestTraining:
        """The nearest reference image of each image, by cosine distance."""
        return nearest_training(self.images.features, self.reference.features, device=self.settings.device)

    @cached_property
    def neighborhoods(self) -> Neighborhoods:
        """The five nearest reference images of each image, by cosine distance."""
        return neighborhoods(self.images.features, self.reference.features, device=self.settings.device)

    @cached_property
    def reference_distances(self) -> Float64Array:
        """The cosine distance of each reference image to the nearest other one."""
        return distances_within(self.reference.features, device=self.settings.device)

    @cached_property
    def held_out_distances(self) -> Float64Array | None:
        """The cosine distance of each held-out image to the nearest reference image."""
        if self.held_out is None:
            return None
        return nearest_distances(self.held_out.features, self.reference.features, device=self.settings.device)

    @property
    def held_out_source(self) -> dict[str, Any]:
        """The identity of the held-out images, for protocols; empty without any."""
        if self.held_out is None:
            return {}
        known = {"held_out_count": len(self.held_out)}
        if (source := self.held_out.source) is None:
            return known
        return {"held_out": source.name, "held_out_fingerprint": source.fingerprint} | known

    @cached_property
    def equal_count_features(self) -> tuple[FloatArray, FloatArray]:
        """Features of both sides at the smaller count; a random subset of the larger side."""
        count = min(len(self.images), len(self.reference))
        return (self._subset(self.images.features, count, 1), self._subset(self.reference.features, count, 2))

    def equal_count_subsets(self, limit: int) -> tuple[FloatArray, FloatArray]:
        """Random subsets of at most `limit` rows of both `equal_count_features`."""
        images, reference = self.equal_count_features
        # Random, because sets are often sorted by class.
        count = min(limit, len(images))
        return self._subset(images, count, 3), self._subset(reference, count, 4)

    def _subset(self, features: FloatArray, count: int, purpose: int) -> FloatArray:
        if count == len(features):
            return features
        random = np.random.default_rng([self.settings.seed, len(features), count, purpose])
        return np.asarray(features[np.sort(random.choice(len(features), count, replace=False))])

    @cached_property
    def manifolds(self) -> Manifolds:
        """The k-nearest-neighbor statistics at equal counts: for precision and recall, and also for density
        and coverage if there are enough images for their k."""
        k, density_k = self.settings.neighbors, self.settings.density_neighbors
        return self._manifolds(k, density_k if len(self.equal_count_features[0]) > density_k else k)

    @cached_property
    def balls(self) -> Manifolds:
        """`manifolds` for density and coverage."""
        density_k = self.settings.density_neighbors
        if len(self.equal_count_features[0]) > max(self.settings.neighbors, density_k):
            return self.manifolds
        return self._manifolds(density_k, density_k)

    def _manifolds(self, neighbors: int, density_neighbors: int) -> Manifolds:
        return manifolds(
            *self.equal_count_features, neighbors, density_neighbors, device=self.settings.device
        )

    @cached_property
    def floor(self) -> ReferenceSplit | None:
        """The reference split at the count of the images, or half the reference if that is less.

        None if it is not set or the reference has fewer than 4 images.
        """
        count = min(len(self.images), len(self.reference) // 2)
        if not self.settings.floor or count < 2:
            return None
        features = self.reference.features
        order = np.random.default_rng([self.settings.seed, len(features)]).permutation(len(features))
        one = np.asarray(features[np.sort(order[:count])])
        other = np.asarray(features[np.sort(order[count : 2 * count])])
        distance = float(nearest_distances(one, other, device=self.settings.device).mean())
        return ReferenceSplit(frechet_distance(moments(one), moments(other)), distance, count)

    def cached(self, name: str, compute: Callable[[], T]) -> T:
        """The result of `compute`, computed once per name: for values that several metrics need."""
        if name not in self._kept:
            self._kept[name] = compute()
        kept: T = self._kept[name]
        return kept

    def shared_labels(self) -> tuple[IndexArray, IndexArray, tuple[str, ...]]:
        """Labels of both sides, numbered by the reference's classes, and the class names.

        Raises `JudgementError` if a side has no labels, or a class that the reference lacks.
        """
        for name, side in (("images", self.images), ("reference", self.reference)):
            if side.labels is None:
                raise JudgementError(
                    f"the {name} have no labels, which scores by class need: give a labeled packed set, a "
                    "folder with a subfolder for each class, or a run of a conditional recipe"
                )
        assert self.images.labels is not None
        assert self.reference.labels is not None
        names = self.reference.classes
        unknown = [name for name in self.images.classes if name not in names]
        if unknown:
            raise JudgementError(
                f"the images have classes that the reference lacks ({', '.join(unknown[:3])}): "
                f"expected {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}"
            )
        # Labels without class names use the numbers of the reference.
        numbers = np.array([names.index(name) for name in self.images.classes or names], np.int64)
        if self.images.labels.max(initial=0) >= len(numbers):
            raise JudgementError(
                f"the images have labels up to {self.images.labels.max()}, the reference has {len(names)} "
                "classes: give both the same classes"
            )
        return numbers[self.images.labels], self.reference.labels, names


def normal_interval(value: float, error: float, *, minimum: float = -np.inf) -> tuple[float, float]:
    """The 95% interval of a normally distributed value with this standard error, not below `minimum`."""
    return max(minimum, value - NORMAL_95 * error), value + NORMAL_95 * error


def wilson_interval(share: float, count: int) -> tuple[float, float]:
    """The 95% interval of a share among `count` independent rows; not empty at shares of 0 and 1. Wilson
    1927, Journal of the American Statistical Association 22, page 209."""
    square = NORMAL_95**2 / count
    center = (share + square / 2) / (1 + square)
    half = NORMAL_95 * np.sqrt(share * (1 - share) / count + square / count / 4) / (1 + square)
    return max(0.0, float(center - half)), min(1.0, float(center + half))
