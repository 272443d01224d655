"""The sliced 2-Wasserstein distance between feature sets (Rabin et al. 2011; Bonneel et al. 2015).

    SW_2^2 = mean over directions u on the unit sphere of W_2^2(x.u, y.u)

In one dimension W_2^2 is the mean squared difference of the two quantile functions, so sorting gives it
exactly, also where the counts differ. Unlike FID it assumes no Gaussian and needs no more images than
dimensions. With n dimensions, sets that differ by a shift v alone are |v| / sqrt(n) apart.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kennel.cancellation import raise_if_cancelled
from kennel.errors import JudgementError
from kennel.evaluation.metrics._checks import check_pair
from kennel.features.moments import Float64Array, FloatArray, blocks

PROJECTIONS = 1000
HELD = 8_000_000
"""Projected values of a side that are held at a time: 64 MiB."""


@dataclass(frozen=True)
class SlicedWasserstein:
    """`value` is the root of `mean_square`, which is the mean of W_2^2 over `projections` directions.

    `standard_error` is what `value` varies by with the choice of directions; what another draw of images
    would change is not in it.
    """

    value: float
    mean_square: float
    standard_error: float
    projections: int


def sliced_wasserstein(
    fakes: FloatArray, reference: FloatArray, projections: int = PROJECTIONS, seed: int = 0
) -> SlicedWasserstein:
    """SW_2 of (count, dimension) features over random directions drawn with `seed`, in float64.

    The counts may differ. Raises `JudgementError` below 2 images a side and where a value is not finite.
    """
    check_pair(fakes, reference)
    if projections < 2:
        raise JudgementError(f"at least 2 projections are needed, {projections} were given")
    squares = squares_along(fakes, reference, random_directions(fakes.shape[1], projections, seed))
    mean = float(squares.mean())
    error_of_mean = float(squares.std(ddof=1) / np.sqrt(projections))
    value = float(np.sqrt(mean))
    return SlicedWasserstein(value, mean, error_of_mean / (2 * value) if value else 0.0, projections)


def random_directions(dimension: int, count: int, seed: int) -> Float64Array:
    """Directions drawn evenly from the unit sphere, one a column: (dimension, count)."""
    normal = np.random.default_rng(seed).normal(size=(count, dimension))
    directions: Float64Array = (normal / np.linalg.norm(normal, axis=1, keepdims=True)).T
    return directions


def squares_along(fakes: FloatArray, reference: FloatArray, directions: Float64Array) -> Float64Array:
    """W_2^2 of both sides projected on each column of (dimension, count) directions: (count,)."""
    width = max(1, HELD // max(len(fakes), len(reference)))
    squares = np.empty(directions.shape[1])
    for start in range(0, len(squares), width):
        raise_if_cancelled()
        some = directions[:, start : start + width]
        squares[start : start + width] = wasserstein_squares(
            _sorted_projections(fakes, some), _sorted_projections(reference, some)
        )
    return squares


def wasserstein_squares(one: Float64Array, other: Float64Array) -> Float64Array:
    """W_2^2 of each pair of rows of (directions, count) and (directions, other count) sorted values.

    Each value of the one stands for 1/n of the mass and each of the other for 1/m; between two neighbours
    of the merged steps i/n and j/m both quantile functions are constant, so the sum over them is exact.
    """
    weights, places, other_places = _merged_steps(one.shape[1], other.shape[1])
    return np.array(
        [
            weights @ (values[places] - other_values[other_places]) ** 2
            for values, other_values in zip(one, other, strict=True)
        ]
    )


def _merged_steps(
    count: int, other_count: int
) -> tuple[Float64Array, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The weights of the merged steps of both quantile functions, and the value of each side on them."""
    # In units of 1 / (n m) every step is a whole number, so that equal steps are found to be equal.
    ends = np.union1d(
        np.arange(1, count + 1, dtype=np.int64) * other_count,
        np.arange(1, other_count + 1, dtype=np.int64) * count,
    )
    weights = np.diff(ends, prepend=0) / (count * other_count)
    return weights, (ends - 1) // other_count, (ends - 1) // count


def _sorted_projections(features: FloatArray, directions: Float64Array) -> Float64Array:
    """(directions, count) projections, each row sorted; the features become float64 a block at a time."""
    projected = np.empty((directions.shape[1], len(features)))
    start = 0
    for block in blocks(features):
        projected[:, start : start + len(block)] = (block.astype(np.float64) @ directions).T
        start += len(block)
    projected.sort(axis=1)
    return projected
