"""Mean and covariance of features in float64, accumulated in blocks."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kennel.errors import JudgementError

FloatArray = npt.NDArray[np.floating]
Float64Array = npt.NDArray[np.float64]
IndexArray = npt.NDArray[np.int64]
NOT_FINITE = "the features contain NaN or infinite values: look for damaged images or weights, or use float32"
BLOCK = 4096  # Rows that are converted to float64 at a time: 64 MiB at 2048 features


@dataclass(frozen=True)
class Moments:
    """`mean` float64 (dimension,), unbiased `covariance` float64 (dimension, dimension), of `count` rows.
    `factor`, if there are no more rows than dimensions, is A (count, dimension) with A^T A the covariance:
    the centered rows, which are exact although the covariance is singular."""

    mean: Float64Array
    covariance: Float64Array
    count: int
    factor: Float64Array | None = None

    @property
    def dimension(self) -> int:
        return len(self.mean)


class MomentsAccumulator:
    """Accumulates `Moments` from blocks of rows. Rows are shifted by the mean of the first block before their
    outer products are summed, so features with a large common offset lose no digits; order and block size
    change the result by rounding only."""

    def __init__(self) -> None:
        self._shift: Float64Array | None = None
        self._sum: Float64Array = np.empty(0)
        self._products: Float64Array = np.empty((0, 0))
        self._count = 0
        self._rows: list[Float64Array] = []

    def add(self, rows: FloatArray) -> None:
        """Adds (rows, dimension); raises `JudgementError` for values that are not finite."""
        block = rows.astype(np.float64)
        if not np.isfinite(block).all():
            raise JudgementError(NOT_FINITE)
        if self._shift is None:
            self._shift = block.mean(0)
            self._sum = np.zeros_like(self._shift)
            self._products = np.zeros((len(self._shift), len(self._shift)))
        block -= self._shift
        self._sum += block.sum(0)
        self._products += block.T @ block
        self._count += len(block)
        if self._count <= block.shape[1]:
            self._rows.append(block)
        else:
            self._rows = []

    def moments(self) -> Moments:
        """The moments of all rows so far; raises `JudgementError` below two rows."""
        if self._count < 2 or self._shift is None:
            raise JudgementError(f"a covariance needs at least 2 images, there are {self._count}: give more")
        offset = self._sum / self._count
        covariance = (self._products - self._count * np.outer(offset, offset)) / (self._count - 1)
        factor = None
        if self._rows:
            factor = (np.concatenate(self._rows) - offset) / np.sqrt(self._count - 1)
        return Moments(self._shift + offset, covariance, self._count, factor)


def blocks(features: FloatArray, size: int = BLOCK) -> Iterable[FloatArray]:
    """`size` rows at a time."""
    for start in range(0, len(features), size):
        yield features[start : start + size]


def moments(features: FloatArray) -> Moments:
    accumulator = MomentsAccumulator()
    for block in blocks(features):
        accumulator.add(block)
    return accumulator.moments()
