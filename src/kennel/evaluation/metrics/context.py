"""The evidence of one feature pass: what several metrics need is computed once."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import torch

from kennel.data.images import ImageSource
from kennel.errors import JudgementError
from kennel.evaluation.metrics._nearest import IndexArray
from kennel.evaluation.metrics.fid import frechet_distance, standard_error
from kennel.evaluation.metrics.inception_score import SHUFFLE_SEED, SPLITS
from kennel.evaluation.metrics.mifid import (
    EPSILON,
    NearestTraining,
    Neighbourhoods,
    distances_within,
    nearest_distances,
    nearest_training,
    neighbourhoods,
)
from kennel.evaluation.metrics.prdc import DENSITY_NEIGHBOURS, NEIGHBOURS, Manifolds, manifolds
from kennel.features.moments import Float64Array, FloatArray, Moments, moments

T = TypeVar("T")
NORMAL_95 = 1.959964
"""Standard errors on either side of a mean that hold 95% of a normal distribution."""


@dataclass(frozen=True)
class MetricSettings:
    """What the caller may set.

    `splits` and `shuffle_seed` of the Inception Score, MiFID's `epsilon`, `neighbours` k of precision, recall
    and F1, `density_neighbours` that of density and coverage; `floor`, whether to measure halves of the
    reference against each other; `intervals`, whether to compute them; `seed` of every random choice;
    `device` of the large products.
    """

    splits: int = SPLITS
    shuffle_seed: int | None = SHUFFLE_SEED
    epsilon: float = EPSILON
    neighbours: int = NEIGHBOURS
    density_neighbours: int = DENSITY_NEIGHBOURS
    floor: bool = False
    intervals: bool = True
    seed: int = 0
    device: torch.device | str = "cpu"


@dataclass(frozen=True)
class FeatureSide:
    """One side of a judgement.

    `features` float32 (count, dimension), perhaps memory-mapped; `logits` float32 (count, classes) of the
    judged images, None for the reference or without a classifier; `predictions` int64 (count,), the classes
    that the extractor names; `labels` int64 (count,), the classes that the images carry, by their `classes`;
    `source` and `rows`: which images these are (all where `rows` is None).
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
    """Two disjoint random halves of the reference against each other: what perfection scores at that count.

    `fid` between them, `distance` of the one to the other as MiFID measures it, `count` images a side.
    """

    fid: float
    distance: float
    count: int


@dataclass(frozen=True)
class MetricContext:
    """Both sides, the extractor's name and protocol words, the settings, and what follows from them.

    `reference_moments` are those of `reference.features`; `held_out` are real images that are not in the
    reference, or None.
    """

    images: FeatureSide
    reference: FeatureSide
    reference_moments: Moments
    extractor: str
    settings: MetricSettings = field(default_factory=MetricSettings)
    held_out: FeatureSide | None = None
    _kept: dict[str, Any] = field(default_factory=dict, repr=False)

    @cached_property
    def images_moments(self) -> Moments:
        """Of the judged images."""
        return moments(self.images.features)

    @cached_property
    def fid(self) -> float:
        """The Fréchet distance between images and reference."""
        return frechet_distance(self.images_moments, self.reference_moments)

    @cached_property
    def fid_interval(self) -> tuple[float, float] | None:
        """95% of the sampling noise around `fid`, by its standard error; see `frechet.standard_error`."""
        if not self.settings.intervals:
            return None
        error = standard_error(
            self.images_moments, self.reference_moments, self.images.features, self.reference.features
        )
        return None if error is None else around(self.fid, error, least=0.0)

    @cached_property
    def nearest(self) -> NearestTraining:
        """Of each image the nearest reference image, by cosine distance."""
        return nearest_training(self.images.features, self.reference.features, device=self.settings.device)

    @cached_property
    def neighbourhoods(self) -> Neighbourhoods:
        """Of each image the five nearest reference images, by cosine distance."""
        return neighbourhoods(self.images.features, self.reference.features, device=self.settings.device)

    @cached_property
    def reference_distances(self) -> Float64Array:
        """Of each reference image the cosine distance to the nearest other one."""
        return distances_within(self.reference.features, device=self.settings.device)

    @cached_property
    def held_out_distances(self) -> Float64Array | None:
        """Of each held-out real image the cosine distance to the nearest reference image."""
        if self.held_out is None:
            return None
        return nearest_distances(self.held_out.features, self.reference.features, device=self.settings.device)

    @property
    def held_out_source(self) -> dict[str, Any]:
        """Which held-out images these are, for the protocol of what depends on them; empty without any."""
        if self.held_out is None:
            return {}
        known = {"held_out_count": len(self.held_out)}
        if (source := self.held_out.source) is None:
            return known
        return {"held_out": source.name, "held_out_fingerprint": source.fingerprint} | known

    @cached_property
    def equal_sides(self) -> tuple[FloatArray, FloatArray]:
        """Features of both sides at the smaller one's count, the larger by a random subset of its own."""
        count = min(len(self.images), len(self.reference))
        return (
            self._subset(self.images.features, count, 1),
            self._subset(self.reference.features, count, 2),
        )

    def equal_parts(self, most: int) -> tuple[FloatArray, FloatArray]:
        """`equal_sides`, or random subsets of `most` rows of each: sets often stand in the order of classes,
        so that their first rows are none of them all."""
        images, reference = self.equal_sides
        count = min(most, len(images))
        return self._subset(images, count, 3), self._subset(reference, count, 4)

    def _subset(self, features: FloatArray, count: int, purpose: int) -> FloatArray:
        if count == len(features):
            return features
        random = np.random.default_rng([self.settings.seed, len(features), count, purpose])
        return np.asarray(features[np.sort(random.choice(len(features), count, replace=False))])

    @cached_property
    def manifolds(self) -> Manifolds:
        """Who lies in whose neighbourhood, at equal counts: for precision, recall and F1, and with them for
        density and coverage where the sides have images enough for their k."""
        images, _ = self.equal_sides
        settings = self.settings
        enough = len(images) > settings.density_neighbours
        return self._manifolds(
            settings.neighbours, settings.density_neighbours if enough else settings.neighbours
        )

    @cached_property
    def balls(self) -> Manifolds:
        """The same, for density and coverage: of `manifolds` where that could be measured together."""
        images, _ = self.equal_sides
        wanted = self.settings.density_neighbours
        if len(images) > max(self.settings.neighbours, wanted):
            return self.manifolds
        return self._manifolds(wanted, wanted)

    def _manifolds(self, neighbours: int, density_neighbours: int) -> Manifolds:
        return manifolds(*self.equal_sides, neighbours, density_neighbours, device=self.settings.device)

    @cached_property
    def floor(self) -> ReferenceSplit | None:
        """The real-v-real floor at the images' count, or at half the reference where that is less; None
        where the settings do not ask or the reference has fewer than 4 images."""
        count = min(len(self.images), len(self.reference) // 2)
        if not self.settings.floor or count < 2:
            return None
        features = self.reference.features
        order = np.random.default_rng([self.settings.seed, len(features)]).permutation(len(features))
        one = np.asarray(features[np.sort(order[:count])])
        other = np.asarray(features[np.sort(order[count : 2 * count])])
        distance = float(nearest_distances(one, other, device=self.settings.device).mean())
        return ReferenceSplit(frechet_distance(moments(one), moments(other)), distance, count)

    def once(self, name: str, compute: Callable[[], T]) -> T:
        """What `compute` gives, computed at the first call under this name: for what two metrics share."""
        if name not in self._kept:
            self._kept[name] = compute()
        kept: T = self._kept[name]
        return kept

    def shared_labels(self) -> tuple[IndexArray, IndexArray, tuple[str, ...]]:
        """Labels of both sides in one numbering, that of the reference's classes, and their names.

        Raises `JudgementError` where a side has no labels or names a class that the reference lacks.
        """
        for which, side in (("images", self.images), ("reference", self.reference)):
            if side.labels is None:
                raise JudgementError(
                    f"the {which} carry no labels, which scores by class need: give a labelled packed set, "
                    "a folder with a folder for each class, or a run of a conditional recipe"
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
        # Labels without names are in the reference's numbering.
        places = np.array([names.index(name) for name in self.images.classes or names], np.int64)
        if self.images.labels.max(initial=0) >= len(places):
            raise JudgementError(
                f"the images have labels up to {self.images.labels.max()}, the reference {len(names)} "
                "classes: give both the same classes"
            )
        return places[self.images.labels], self.reference.labels, names


def around(value: float, error: float, *, least: float = -np.inf) -> tuple[float, float]:
    """The 95% interval of a value with this standard error, not below `least`."""
    return max(least, value - NORMAL_95 * error), value + NORMAL_95 * error


def wilson(share: float, count: int) -> tuple[float, float]:
    """The 95% interval of a share among `count` independent rows (Wilson 1927, Journal of the American
    Statistical Association 22, page 209): open also at shares of 0 and 1."""
    square = NORMAL_95**2 / count
    middle = (share + square / 2) / (1 + square)
    reach = NORMAL_95 * np.sqrt(share * (1 - share) / count + square / count / 4) / (1 + square)
    return max(0.0, float(middle - reach)), min(1.0, float(middle + reach))
