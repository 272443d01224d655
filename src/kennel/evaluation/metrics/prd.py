"""Precision and recall of distributions, PRD (Sajjadi et al. 2018, arXiv 1806.00035).

Both sides are clustered together, so each becomes a histogram over the clusters. With the reference P and the
fakes Q, each slope lambda > 0 gives a point (their equations 2 and 3, algorithm 1)

    precision(lambda) = sum over clusters of min(lambda P, Q),    recall(lambda) = precision / lambda.

The summary is the maximum F_8, which weighs recall, and the maximum F_1/8, which weighs precision, with F_b =
(1 + b^2) p r / (b^2 p + r).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kennel.cancellation import raise_if_cancelled
from kennel.errors import JudgementError
from kennel.evaluation.metrics._checks import check_pair
from kennel.features.moments import Float64Array, FloatArray

CLUSTERS, RUNS, ANGLES, RESTARTS = 20, 10, 1001, 10
BETAS = (8, 1 / 8, 1)
MIN_ANGLE = 1e-10
"""Distance of the first and last angle from 0 and 90 degrees, where the slope is 0 or infinite."""


@dataclass(frozen=True)
class PrdCurve:
    """`precision` and `recall`, float64 (angles,), by increasing slope. Precision never falls and recall
    never rises along the curve."""

    precision: Float64Array
    recall: Float64Array

    def max_f_score(self, beta: int | float) -> float:
        """The maximum F_beta on the curve; 0 if precision and recall are 0 everywhere."""
        weighted = beta**2 * self.precision + self.recall
        product = (1 + beta**2) * self.precision * self.recall
        return float(np.max(np.divide(product, weighted, out=np.zeros_like(product), where=weighted > 0)))


@dataclass(frozen=True)
class Prd:
    """The curve averaged over `runs` clusterings, its maximum F_8 (recall), F_1/8 (precision) and F_1. The
    deviations are the standard deviations between runs, from clustering alone. `count` images a side were
    used; `dropped` images of the larger side were not."""

    curve: PrdCurve
    f8: float
    f1_8: float
    f1: float
    f8_deviation: float
    f1_8_deviation: float
    f1_deviation: float
    runs: int
    clusters: int
    count: int
    dropped: int


def prd(
    fakes: FloatArray,
    reference: FloatArray,
    clusters: int = CLUSTERS,
    runs: int = RUNS,
    angles: int = ANGLES,
    seed: int = 0,
) -> Prd:
    """PRD of (count, dimension) features by the published protocol: scikit-learn's MiniBatchKMeans with 10
    restarts on the union, the curve averaged over `runs` clusterings.

    Unequal counts would bias the curve, so a random subset of the larger side is used, drawn with `seed`. The
    union is stored in float32. Raises `JudgementError` if a side has fewer images than there are clusters,
    and for values that are not finite.
    """
    if clusters < 2 or runs < 1:
        raise JudgementError(f"PRD needs at least 2 clusters and 1 run: these are {clusters} and {runs}")
    check_pair(fakes, reference, min_count=clusters)
    random = np.random.default_rng(seed)
    count = min(len(fakes), len(reference))
    union = np.concatenate([_subset(side, count, random) for side in (reference, fakes)])
    curves = []
    for _ in range(runs):
        raise_if_cancelled()
        cluster = _assign_clusters(union, clusters, int(random.integers(2**31)))
        real, fake = (np.bincount(side, minlength=clusters) / count for side in np.split(cluster, 2))
        curves.append(prd_of_histograms(real, fake, angles))
    mean = PrdCurve(
        np.mean([curve.precision for curve in curves], axis=0),
        np.mean([curve.recall for curve in curves], axis=0),
    )
    f8, f1_8, f1 = (mean.max_f_score(beta) for beta in BETAS)
    f8_deviation, f1_8_deviation, f1_deviation = (
        float(np.std([curve.max_f_score(beta) for curve in curves])) for beta in BETAS
    )
    dropped = max(len(fakes), len(reference)) - count
    return Prd(mean, f8, f1_8, f1, f8_deviation, f1_8_deviation, f1_deviation, runs, clusters, count, dropped)


def prd_of_histograms(
    reference_histogram: Float64Array, fake_histogram: Float64Array, angles: int = ANGLES
) -> PrdCurve:
    """The curve of two histograms over the same clusters, each with sum 1. The slopes are the tangents of
    `angles` evenly spaced angles between 0 and 90 degrees. Raises `JudgementError` for invalid histograms."""
    if angles < 3:
        raise JudgementError(f"a curve needs at least 3 angles, and there are {angles}")
    for side, histogram in (("reference", reference_histogram), ("fakes", fake_histogram)):
        if histogram.shape != reference_histogram.shape or histogram.ndim != 1:
            raise JudgementError(
                f"histograms of shapes {reference_histogram.shape} and {fake_histogram.shape} are not over "
                "the same clusters"
            )
        if not (histogram >= 0).all() or not np.isclose(histogram.sum(), 1, rtol=0, atol=1e-9):
            raise JudgementError(f"the histogram of the {side} is not a list of shares that sum to 1")
    slopes = np.tan(np.linspace(MIN_ANGLE, np.pi / 2 - MIN_ANGLE, angles))
    precision = np.minimum(slopes[:, None] * reference_histogram, fake_histogram).sum(1)
    # Rounding can exceed 1 by a few ulp at the ends.
    return PrdCurve(np.clip(precision, 0, 1), np.clip(precision / slopes, 0, 1))


def _subset(side: FloatArray, count: int, random: np.random.Generator) -> npt.NDArray[np.float32]:
    """`count` rows as float32: all, or a random subset in their order."""
    if len(side) > count:
        side = side[np.sort(random.permutation(len(side))[:count])]
    return side.astype(np.float32)


def _assign_clusters(union: npt.NDArray[np.float32], clusters: int, seed: int) -> npt.NDArray[np.integer]:
    from sklearn.cluster import MiniBatchKMeans

    return np.asarray(MiniBatchKMeans(clusters, n_init=RESTARTS, random_state=seed).fit_predict(union))
