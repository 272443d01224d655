"""MiFID: a FID that punishes copying, as Kaggle's Generative Dog Images scored it.

Bai, Lin, Raffel, Kan, "On training sample memorization" (KDD 2021, arXiv 2106.03062), equations 1 to 4, in
the direction of the published scorer: the mean over *generated* images of the distance to the nearest
*training* image. (The other direction rewards what should be punished: fakes that are copies of a few
training images leave most training images far from any fake.)
"""

from dataclasses import dataclass

import numpy as np
import torch

from kennel.errors import JudgementError
from kennel.evaluation.metrics._nearest import IndexArray, nearest
from kennel.features.moments import Float64Array, FloatArray, blocks

EPSILON = 0.1
"""The public leaderboard's threshold for Inception features."""
NEIGHBOURS = 5
"""The training images that are looked at beside a suspicious one."""
THIRD = 2
"""The place of the neighbour that the nearest is measured by.

The second would be blind to what a training set holds twice, and duplicates are what is memorised first.
"""
ROUNDING = 1e-12
"""A distance up to this is that of an exact copy."""
TINY = 1e-15
"""Keeps the division finite where the distance is 0."""


@dataclass(frozen=True)
class NearestTraining:
    """Of the fakes whose features count, in their order: `distances` float64 to the nearest training row,
    `fakes` and `training` int64, the two rows' indices in the sets as given."""

    distances: Float64Array
    fakes: IndexArray
    training: IndexArray


@dataclass(frozen=True)
class Neighbourhoods:
    """Of the fakes whose features count, in their order: `distances` float64 (fakes, neighbours) to the
    nearest training rows, rising; `fakes` int64 (fakes,) and `training` int64 (fakes, neighbours), indices in
    the sets as given."""

    distances: Float64Array
    fakes: IndexArray
    training: IndexArray

    @property
    def ratios(self) -> Float64Array:
        """The distance to the nearest row, by that to the third (the last, where there are fewer).

        Far below 1 where one training image is much nearer than what else is like it, as a copy's source
        is. 0 where the nearest is an exact copy, whatever the others are.
        """
        nearest_one, third = self.distances[:, 0], self.distances[:, min(THIRD, self.distances.shape[1] - 1)]
        return np.divide(nearest_one, third, out=np.zeros_like(third), where=nearest_one > ROUNDING)


@dataclass(frozen=True)
class Mifid:
    """One MiFID with all that it is made of: never one number alone.

    `distance` is the mean nearest cosine distance d; `penalty` is the M(d) that FID is divided by, 1 for no
    punishment; `value` is `fid / (penalty + 1e-15)`.
    """

    fid: float
    distance: float
    epsilon: float
    penalty: float
    value: float


def mifid(fid: float, distance: float, epsilon: float = EPSILON) -> Mifid:
    """MiFID from its parts: the penalty is d below `epsilon` and 1 from there on, by the mean alone."""
    penalty = distance if distance < epsilon else 1.0
    return Mifid(fid, distance, epsilon, penalty, fid / (penalty + TINY))


def neighbourhoods(
    fakes: FloatArray,
    training: FloatArray,
    count: int = NEIGHBOURS,
    *,
    device: torch.device | str = "cpu",
) -> Neighbourhoods:
    """For each fake the `count` nearest training rows, or all of fewer, as `nearest_training` finds one."""
    fake_rows, training_rows = _counting(fakes, "fakes"), _counting(training, "reference")
    found = nearest(
        fakes if len(fake_rows) == len(fakes) else fakes[fake_rows],
        training if len(training_rows) == len(training) else training[training_rows],
        min(count, len(training_rows)),
        cosine=True,
        device=device,
    )
    return Neighbourhoods(found.distances, fake_rows, training_rows[found.indices])


def nearest_training(
    fakes: FloatArray, training: FloatArray, *, device: torch.device | str = "cpu"
) -> NearestTraining:
    """For each fake the nearest training row by 1 - |cos|, decided in float64: an exact copy is at 0.

    Rows whose features sum to 0 are dropped on both sides, as the scorer does. Raises `JudgementError` where
    no row is left or a value is not finite.
    """
    found = neighbourhoods(fakes, training, 1, device=device)
    return NearestTraining(found.distances[:, 0], found.fakes, found.training[:, 0])


def nearest_distances(
    fakes: FloatArray, training: FloatArray, *, device: torch.device | str = "cpu"
) -> Float64Array:
    """The distances of `nearest_training`, float64 (fakes that count,): MiFID takes their mean."""
    return nearest_training(fakes, training, device=device).distances


def distances_within(rows: FloatArray, *, device: torch.device | str = "cpu") -> Float64Array:
    """Of each row of a set 1 - |cos| to the nearest *other* row of it: how near real images are by nature.

    Held-out images of the same kind are as far from the set, but for duplicates in it.
    """
    counting = _counting(rows, "reference")
    kept = rows if len(counting) == len(rows) else rows[counting]
    return nearest(kept, kept, cosine=True, leave_out_self=True, device=device).distances[:, 0]


def distances_to_the_others(
    rows: FloatArray, count: int, seed: int, device: torch.device | str = "cpu"
) -> Float64Array:
    """`distances_within` of at most `count` rows, a random choice by `seed`, to all the other rows."""
    counting = _counting(rows, "reference")
    if len(counting) <= count:
        return distances_within(rows, device=device)
    order = np.random.default_rng([seed, len(counting), count]).permutation(len(counting))
    chosen = np.sort(counting[order[:count]])
    found = nearest(rows[chosen], rows[counting], 2, cosine=True, device=device)
    # Its own place is among the two, unless two others are exact copies of it: those are at 0 like itself.
    own = counting[found.indices[:, 0]] == chosen
    return np.where(own, found.distances[:, 1], found.distances[:, 0])


def _counting(rows: FloatArray, which: str) -> IndexArray:
    """The indices of rows with a sum other than 0."""
    if not all(np.isfinite(block.sum(dtype=np.float64)) for block in blocks(rows)):
        raise JudgementError(f"the features of the {which} hold NaN or infinite values: check the images")
    counted = np.concatenate([block.sum(1, dtype=np.float64) != 0 for block in blocks(rows)])
    if not counted.any():
        raise JudgementError(f"all features of the {which} are zero: no distance can be measured")
    return counted.nonzero()[0]
