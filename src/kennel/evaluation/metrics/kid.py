"""The Kernel Inception Distance (Bińkowski, Sutherland, Arbel, Gretton 2018, arXiv 1801.01401, section 4).

KID is the squared maximum mean discrepancy under the kernel k(x, y) = (gamma x.y + coefficient)^degree, by
its unbiased estimate (Gretton et al. 2012, equation 3):

    MMD^2 = mean of k(x, x') over pairs of fakes + mean of k(y, y') over pairs of the reference
            - 2 mean of k(x, y)

without pairs of an image with itself. Its expectation does not depend on the count, and it may be negative.
"""

from dataclasses import dataclass

import numpy as np

from kennel.cancellation import raise_if_cancelled
from kennel.errors import JudgementError
from kennel.evaluation.metrics._checks import check_pair
from kennel.features.moments import Float64Array, FloatArray

SUBSETS, SUBSET_SIZE, SUBSET_SEED = 100, 1000, 2020
"""torch-fidelity's defaults, so that equal features give equal numbers."""
DEGREE, COEFFICIENT = 3, 1.0
BLOCK = 2048  # Rows of a side at a time: a block of kernel values is 32 MiB


@dataclass(frozen=True)
class Kernel:
    """k(x, y) = (gamma x.y + coefficient)^degree; `gamma` None is 1 / dimension."""

    degree: int = DEGREE
    gamma: float | None = None
    coefficient: float = COEFFICIENT

    def __call__(self, rows: Float64Array, columns: Float64Array) -> Float64Array:
        """The kernel of all pairs, (rows, columns)."""
        gamma = 1 / rows.shape[1] if self.gamma is None else self.gamma
        values: Float64Array = (rows @ columns.T * gamma + self.coefficient) ** self.degree
        return values


@dataclass(frozen=True)
class KidOfSubsets:
    """`mean` and `deviation` (population standard deviation) of MMD^2 over `subsets` pairs of random subsets.
    `subset_size` images a side were used; `requested_subset_size` is larger if a side had fewer images. The
    deviation is that of one subset, not an error of the mean: the subsets share images."""

    mean: float
    deviation: float
    subsets: int
    subset_size: int
    requested_subset_size: int


@dataclass(frozen=True)
class KidOfAllPairs:
    """`value` is MMD^2 over all pairs of `fakes` and `reference` images, with its `standard_error` over
    draws."""

    value: float
    standard_error: float
    fakes: int
    reference: int


def kid(
    fakes: FloatArray,
    reference: FloatArray,
    subsets: int = SUBSETS,
    subset_size: int = SUBSET_SIZE,
    degree: int = DEGREE,
    gamma: float | None = None,
    coefficient: float = COEFFICIENT,
    seed: int = SUBSET_SEED,
) -> KidOfSubsets:
    """KID of (count, dimension) features as published: the mean MMD^2 of random subsets, in float64.

    Subsets are drawn without replacement by one `RandomState(seed)`, fakes first, as in torch-fidelity: equal
    features and seed give equal numbers, up to its rounding to float32. The subset size is at most the count
    of a side. Raises `JudgementError` below 2 images a side and for values that are not finite.
    """
    check_pair(fakes, reference)
    if subsets < 1 or subset_size < 2:
        raise JudgementError(
            f"KID needs at least 1 subset of 2 images: these are {subsets} subsets of {subset_size}"
        )
    size = min(subset_size, len(fakes), len(reference))
    kernel = Kernel(degree, gamma, coefficient)
    random = np.random.RandomState(seed)
    values = []
    for _ in range(subsets):
        raise_if_cancelled()
        one = fakes[random.choice(len(fakes), size, replace=False)].astype(np.float64)
        other = reference[random.choice(len(reference), size, replace=False)].astype(np.float64)
        between = kernel(one, other).mean()
        values.append(_mean_off_diagonal(kernel(one, one)) + _mean_off_diagonal(kernel(other, other)))
        values[-1] -= 2 * float(between)
    return KidOfSubsets(float(np.mean(values)), float(np.std(values)), subsets, size, subset_size)


def kid_of_all_pairs(
    fakes: FloatArray,
    reference: FloatArray,
    degree: int = DEGREE,
    gamma: float | None = None,
    coefficient: float = COEFFICIENT,
) -> KidOfAllPairs:
    """MMD^2 over all pairs of (count, dimension) features, in float64 blocks.

    It needs no random draw, and as a U-statistic it varies no more than the mean over subsets. The standard
    error is that of its Hájek projection, var(h)/n + var(g)/m with

        h(x_i) = 2 (mean of k(x_i, x') over the other fakes - mean of k(x_i, y)), and g(y_j) likewise,

    from the measured row means. If both sides have the same distribution the true projection is 0, and the
    noise of the means replaces what the projection lacks: the variance is then on average twice the true one,
    so the error is conservative. Raises like `kid`.
    """
    check_pair(fakes, reference)
    kernel = Kernel(degree, gamma, coefficient)
    fake_count, reference_count = len(fakes), len(reference)
    of_fakes = _row_sums(fakes, kernel) / (fake_count - 1)
    of_reference = _row_sums(reference, kernel) / (reference_count - 1)
    to_reference, to_fakes = np.zeros(fake_count), np.zeros(reference_count)
    for start in range(0, fake_count, BLOCK):
        rows = fakes[start : start + BLOCK].astype(np.float64)
        for other in range(0, reference_count, BLOCK):
            values = kernel(rows, reference[other : other + BLOCK].astype(np.float64))
            to_reference[start : start + BLOCK] += values.sum(1) / reference_count
            to_fakes[other : other + BLOCK] += values.sum(0) / fake_count
    value = of_fakes.mean() + of_reference.mean() - 2 * to_reference.mean()
    variance = (2 * (of_fakes - to_reference)).var(ddof=1) / fake_count
    variance += (2 * (of_reference - to_fakes)).var(ddof=1) / reference_count
    return KidOfAllPairs(float(value), float(np.sqrt(variance)), fake_count, reference_count)


def _mean_off_diagonal(values: Float64Array) -> float:
    count = len(values)
    return float((values.sum() - np.trace(values)) / (count * (count - 1)))


def _row_sums(features: FloatArray, kernel: Kernel) -> Float64Array:
    """The sum of each row's kernel with all other rows; each pair of blocks is computed once."""
    sums = np.zeros(len(features))
    for start in range(0, len(features), BLOCK):
        rows = features[start : start + BLOCK].astype(np.float64)
        own = kernel(rows, rows)
        np.fill_diagonal(own, 0)
        sums[start : start + BLOCK] += own.sum(1)
        for other in range(start + BLOCK, len(features), BLOCK):
            values = kernel(rows, features[other : other + BLOCK].astype(np.float64))
            sums[start : start + BLOCK] += values.sum(1)
            sums[other : other + BLOCK] += values.sum(0)
    return sums
