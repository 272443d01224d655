"""Diversity of one set of images: the mean distance of pairs, and the Vendi score.

Neither measures quality: noise is diverse. Compared with the value of the reference, they show a generator
that repeats itself, which FID may miss.
"""

from dataclasses import dataclass

import numpy as np
import torch

from kennel.errors import JudgementError
from kennel.evaluation.metrics._checks import check_features, check_pair
from kennel.features.moments import Float64Array, FloatArray, blocks

BLOCK = 2048  # Rows of a side at a time: a block of distances is 32 MiB


@dataclass(frozen=True)
class Diversity:
    """`mean_distance` over all pairs of `count` rows, and its `standard_error`."""

    mean_distance: float
    standard_error: float
    count: int


@dataclass(frozen=True)
class RelativeDiversity:
    """Both sides, and the `ratio` of their mean distances, fakes by reference: 1 for equal diversity.
    `standard_error` of the ratio is to first order, for independent sides."""

    fakes: Diversity
    reference: Diversity
    ratio: float
    standard_error: float


def diversity(features: FloatArray, side: str = "fakes") -> Diversity:
    """The mean Euclidean distance over all pairs of (count, dimension) rows, in float64.

    Exact, in blocks; the time is quadratic in the count. The standard error is that of the Hájek projection
    of this U-statistic, 2 std(row means) / sqrt(count). Raises `JudgementError` below 3 rows and for values
    that are not finite; `side` names the rows in the message.
    """
    check_features(features, side, min_count=3)
    count = len(features)
    # Centering does not change distances, and the products below lose fewer digits.
    offset = sum(block.sum(0, dtype=np.float64) for block in blocks(features)) / count
    sums = np.zeros(count)
    for start in range(0, count, BLOCK):
        rows = features[start : start + BLOCK] - offset
        for other in range(start, count, BLOCK):
            distances = _distances(rows, features[other : other + BLOCK] - offset)
            if other == start:
                np.fill_diagonal(distances, 0)
            else:
                sums[other : other + BLOCK] += distances.sum(0)
            sums[start : start + BLOCK] += distances.sum(1)
    means = sums / (count - 1)
    return Diversity(float(means.mean()), float(2 * means.std(ddof=1) / np.sqrt(count)), count)


def relative_diversity(fakes: FloatArray, reference: FloatArray) -> RelativeDiversity:
    """`diversity` of both sides and their ratio; also raises `JudgementError` if all reference images are
    equal."""
    check_pair(fakes, reference, min_count=3)
    one, other = diversity(fakes), diversity(reference, "reference")
    if not other.mean_distance > 0:
        raise JudgementError("all images of the reference are equal: it has no diversity to compare with")
    ratio = one.mean_distance / other.mean_distance
    error = np.hypot(one.standard_error, ratio * other.standard_error) / other.mean_distance
    return RelativeDiversity(one, other, ratio, float(error))


def vendi(features: FloatArray) -> float:
    """The Vendi score of (count, dimension) rows under the cosine kernel (Friedman and Dieng 2023, arXiv
    2210.02410, definition 3.1): exp of the entropy of the eigenvalues of K / count, K_ij = cos(x_i, x_j).

    For unit rows X the eigenvalues are those of X^T X / count if there are more rows than dimensions, else of
    X X^T / count. Raises `JudgementError` below 2 rows, for a row of zeros, and for values that are not
    finite.
    """
    check_features(features, "fakes")
    count, dimension = features.shape
    if count > dimension:
        gram = np.zeros((dimension, dimension))
        for block in blocks(features):
            rows = _unit_rows(block)
            gram += rows.T @ rows
    else:
        rows = _unit_rows(features)
        gram = rows @ rows.T
    values = torch.linalg.eigvalsh(torch.from_numpy(gram / count)).numpy()
    values = values[values > 0]
    return float(np.exp(-(values * np.log(values)).sum()))


def _distances(rows: Float64Array, others: Float64Array) -> Float64Array:
    """Euclidean distances of all pairs, (rows, others)."""
    squares = (rows**2).sum(1)[:, None] + (others**2).sum(1) - 2 * rows @ others.T
    distances: Float64Array = np.sqrt(np.maximum(squares, 0))
    return distances


def _unit_rows(rows: FloatArray) -> Float64Array:
    """Rows scaled to length 1, in float64."""
    norms = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    if not norms.all():
        raise JudgementError("the features of an image are all 0: use another extractor")
    unit: Float64Array = rows / norms
    return unit
