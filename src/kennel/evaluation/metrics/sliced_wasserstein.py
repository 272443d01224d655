"""The sliced 2-Wasserstein distance between feature sets (Rabin et al. 2011; Bonneel et al. 2015).

    SW_2^2 = mean over directions u on the unit sphere of W_2^2(x.u, y.u)

In one dimension W_2^2 is the mean squared difference of the quantile functions, so sorting gives it exactly,
also for unequal counts. Unlike FID it does not assume a Gaussian, and it does not need more images than
dimensions. In n dimensions, sets that differ only by a shift v have the distance |v| / sqrt(n).
"""

from dataclasses import dataclass

import numpy as np

from kennel.cancellation import raise_if_cancelled
from kennel.errors import JudgementError
from kennel.evaluation.metrics._checks import check_pair
from kennel.features.moments import Float64Array, FloatArray, IndexArray, blocks

PROJECTIONS = 1000
MAX_VALUES = 8_000_000  # Projected values of a side in memory at a time: 64 MiB


@dataclass(frozen=True)
class SlicedWasserstein:
    """`value` is the root of `mean_square`, the mean of W_2^2 over `projections` directions. `standard_error`
    of `value` covers the choice of directions, not the choice of images."""

    value: float
    mean_square: float
    standard_error: float
    projections: int


def sliced_wasserstein(
    fakes: FloatArray, reference: FloatArray, projections: int = PROJECTIONS, seed: int = 0
) -> SlicedWasserstein:
    """SW_2 of (count, dimension) features over random directions drawn with `seed`, in float64. The counts
    may differ. Raises `JudgementError` below 2 images a side and for values that are not finite."""
    check_pair(fakes, reference)
    if projections < 2:
        raise JudgementError(f"at least 2 projections are needed, and there are {projections}")
    squares = squares_along(fakes, reference, random_directions(fakes.shape[1], projections, seed))
    mean = float(squares.mean())
    error_of_mean = float(squares.std(ddof=1) / np.sqrt(projections))
    value = float(np.sqrt(mean))
    return SlicedWasserstein(value, mean, error_of_mean / (2 * value) if value else 0.0, projections)


def random_directions(dimension: int, count: int, seed: int) -> Float64Array:
    """Random directions on the unit sphere, one per column: (dimension, count)."""
    normal = np.random.default_rng(seed).normal(size=(count, dimension))
    directions: Float64Array = (normal / np.linalg.norm(normal, axis=1, keepdims=True)).T
    return directions


def squares_along(fakes: FloatArray, reference: FloatArray, directions: Float64Array) -> Float64Array:
    """W_2^2 of both sides projected on each column of (dimension, count) directions: (count,)."""
    width = max(1, MAX_VALUES // max(len(fakes), len(reference)))
    squares = np.empty(directions.shape[1])
    for start in range(0, len(squares), width):
        raise_if_cancelled()
        part = directions[:, start : start + width]
        squares[start : start + width] = wasserstein_squares(
            _sorted_projections(fakes, part), _sorted_projections(reference, part)
        )
    return squares


def wasserstein_squares(one: Float64Array, other: Float64Array) -> Float64Array:
    """W_2^2 of each pair of rows of (directions, count) and (directions, other count) sorted values. Each
    value has the mass 1/n on one side and 1/m on the other. Between neighboring steps i/n and j/m both
    quantile functions are constant, so the sum over the merged steps is exact."""
    weights, indices, other_indices = _merged_steps(one.shape[1], other.shape[1])
    return np.array(
        [
            weights @ (values[indices] - other_values[other_indices]) ** 2
            for values, other_values in zip(one, other, strict=True)
        ]
    )


def _merged_steps(count: int, other_count: int) -> tuple[Float64Array, IndexArray, IndexArray]:
    """The weights of the merged steps of both quantile functions, and the index of each side's values."""
    # In units of 1 / (n m) all steps are integers, so equal steps compare equal.
    ends = np.union1d(
        np.arange(1, count + 1, dtype=np.int64) * other_count,
        np.arange(1, other_count + 1, dtype=np.int64) * count,
    )
    weights = np.diff(ends, prepend=0) / (count * other_count)
    return weights, (ends - 1) // other_count, (ends - 1) // count


def _sorted_projections(features: FloatArray, directions: Float64Array) -> Float64Array:
    """(directions, count) projections, each row sorted; converted to float64 block by block."""
    projected = np.empty((directions.shape[1], len(features)))
    start = 0
    for block in blocks(features):
        projected[:, start : start + len(block)] = (block.astype(np.float64) @ directions).T
        start += len(block)
    projected.sort(axis=1)
    return projected
