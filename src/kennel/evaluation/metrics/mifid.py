"""MiFID: a FID with a penalty for copies, as in Kaggle's Generative Dog Images.

Bai, Lin, Raffel, Kan, "On training sample memorization" (KDD 2021, arXiv 2106.03062), equations 1 to 4, in
the direction of the published scorer: the mean over *generated* images of the distance to the nearest
*training* image. (The other direction would reward copies of a few training images, because most training
images are then far from any fake.)
"""

from dataclasses import dataclass

import numpy as np
import torch

from kennel.errors import JudgementError
from kennel.evaluation.metrics._nearest import nearest
from kennel.features.moments import Float64Array, FloatArray, IndexArray, blocks

EPSILON = 0.1  # The public leaderboard's threshold for Inception features
NEIGHBORS = 5  # Training images that are compared with a suspicious image
RATIO_NEIGHBOR = 2
"""The index of the neighbor whose distance divides the nearest one's: the third.

The second fails for images that occur twice in a training set, and duplicates are memorized first.
"""
COPY_DISTANCE = 1e-12  # A distance up to this is that of an exact copy
TINY = 1e-15  # Keeps the division finite at a distance of 0


@dataclass(frozen=True)
class NearestTraining:
    """For each fake with nonzero features, in order: `distances` float64 to the nearest training row, and the
    indices `fakes` and `training` int64 of both rows in the given sets."""

    distances: Float64Array
    fakes: IndexArray
    training: IndexArray


@dataclass(frozen=True)
class Neighborhoods:
    """For each fake with nonzero features, in order: `distances` float64 (fakes, neighbors) to the nearest
    training rows, ascending; `fakes` int64 (fakes,) and `training` int64 (fakes, neighbors), indices in the
    given sets."""

    distances: Float64Array
    fakes: IndexArray
    training: IndexArray

    @property
    def ratios(self) -> Float64Array:
        """The distance to the nearest row divided by that to the third (the last, if there are fewer).

        Far below 1 if one training image is much nearer than similar ones, as the source of a copy is. 0 if
        the nearest is an exact copy.
        """
        last = self.distances.shape[1] - 1
        first, third = self.distances[:, 0], self.distances[:, min(RATIO_NEIGHBOR, last)]
        return np.divide(first, third, out=np.zeros_like(third), where=first > COPY_DISTANCE)


@dataclass(frozen=True)
class Mifid:
    """A MiFID with its parts. `distance` is the mean nearest cosine distance d; `penalty` is M(d), which FID
    is divided by, 1 for no penalty; `value` is `fid / (penalty + 1e-15)`."""

    fid: float
    distance: float
    epsilon: float
    penalty: float
    value: float


def mifid(fid: float, distance: float, epsilon: float = EPSILON) -> Mifid:
    """MiFID from its parts: the penalty is d below `epsilon`, else 1."""
    penalty = distance if distance < epsilon else 1.0
    return Mifid(fid, distance, epsilon, penalty, fid / (penalty + TINY))


def neighborhoods(
    fakes: FloatArray, training: FloatArray, count: int = NEIGHBORS, *, device: torch.device | str = "cpu"
) -> Neighborhoods:
    """The `count` nearest training rows of each fake (all, if there are fewer); see `nearest_training`."""
    fake_rows, training_rows = _nonzero_rows(fakes, "fakes"), _nonzero_rows(training, "reference")
    found = nearest(
        fakes if len(fake_rows) == len(fakes) else fakes[fake_rows],
        training if len(training_rows) == len(training) else training[training_rows],
        min(count, len(training_rows)),
        cosine=True,
        device=device,
    )
    return Neighborhoods(found.distances, fake_rows, training_rows[found.indices])


def nearest_training(
    fakes: FloatArray, training: FloatArray, *, device: torch.device | str = "cpu"
) -> NearestTraining:
    """The nearest training row of each fake by 1 - |cos|, decided in float64: an exact copy has 0. Rows whose
    features sum to 0 are dropped on both sides, as in the scorer. Raises `JudgementError` if no row is left
    or a value is not finite."""
    found = neighborhoods(fakes, training, 1, device=device)
    return NearestTraining(found.distances[:, 0], found.fakes, found.training[:, 0])


def nearest_distances(
    fakes: FloatArray, training: FloatArray, *, device: torch.device | str = "cpu"
) -> Float64Array:
    """The distances of `nearest_training`, float64 (fakes with nonzero features,)."""
    return nearest_training(fakes, training, device=device).distances


def distances_within(rows: FloatArray, *, device: torch.device | str = "cpu") -> Float64Array:
    """1 - |cos| of each row of a set to its nearest *other* row: how similar real images are. Held-out images
    of the same kind are as far from the set, except for duplicates in it."""
    nonzero = _nonzero_rows(rows, "reference")
    kept = rows if len(nonzero) == len(rows) else rows[nonzero]
    return nearest(kept, kept, cosine=True, exclude_self=True, device=device).distances[:, 0]


def sampled_distances_within(
    rows: FloatArray, count: int, seed: int, device: torch.device | str = "cpu"
) -> Float64Array:
    """`distances_within` of at most `count` rows, chosen by `seed`, to all other rows."""
    nonzero = _nonzero_rows(rows, "reference")
    if len(nonzero) <= count:
        return distances_within(rows, device=device)
    order = np.random.default_rng([seed, len(nonzero), count]).permutation(len(nonzero))
    chosen = np.sort(nonzero[order[:count]])
    found = nearest(rows[chosen], rows[nonzero], 2, cosine=True, device=device)
    # The row itself is one of the two, unless two others are exact copies of it, which also have distance 0.
    own = nonzero[found.indices[:, 0]] == chosen
    return np.where(own, found.distances[:, 1], found.distances[:, 0])


def _nonzero_rows(rows: FloatArray, side: str) -> IndexArray:
    """The indices of rows with a nonzero sum."""
    if not all(np.isfinite(block.sum(dtype=np.float64)) for block in blocks(rows)):
        raise JudgementError(f"the features of the {side} contain NaN or infinite values: check the images")
    nonzero = np.concatenate([block.sum(1, dtype=np.float64) != 0 for block in blocks(rows)])
    if not nonzero.any():
        raise JudgementError(f"all features of the {side} are zero: use another extractor")
    return nonzero.nonzero()[0]
