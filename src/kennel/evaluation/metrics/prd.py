"""Precision and recall of distributions, PRD (Sajjadi et al. 2018, arXiv 1806.00035).

Both sides are clustered together, so that each becomes a histogram over the clusters; with the reference P
and the fakes Q, each slope lambda > 0 gives a point (their equations 2 and 3, algorithm 1)

    precision(lambda) = sum over clusters of min(lambda P, Q),    recall(lambda) = precision / lambda.

The curve is summed up by the greatest F_8, which weighs recall, and the greatest F_1/8, which weighs
precision, with F_b = (1 + b^2) p r / (b^2 p + r).
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
NARROWEST = 1e-10
"""The first and last angle keep this distance from 0 and 90 degrees, where a slope is 0 or infinite."""


@dataclass(frozen=True)
class PrdCurve:
    """`precision` and `recall`, float64 (angles,), from the slope next to 0 to the steepest.

    Precision never falls and recall never rises along it.
    """

    precision: Float64Array
    recall: Float64Array

    def greatest_f(self, beta: int | float) -> float:
        """The greatest F_beta on the curve; 0 where precision and recall are 0 everywhere."""
        weighted = beta**2 * self.precision + self.recall
        product = (1 + beta**2) * self.precision * self.recall
        return float(np.max(np.divide(product, weighted, out=np.zeros_like(product), where=weighted > 0)))


@dataclass(frozen=True)
class Prd:
    """The curve averaged over `runs` clusterings, its greatest F_8 (recall), F_1/8 (precision) and F_1.

    The three deviations are the standard deviations of the runs' own figures: what the clustering alone
    varies by. `count` images a side were used, `left_out` of the larger side were not.
    """

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
    left_out: int


def prd(
    fakes: FloatArray,
    reference: FloatArray,
    clusters: int = CLUSTERS,
    runs: int = RUNS,
    angles: int = ANGLES,
    seed: int = 0,
) -> Prd:
    """PRD of (count, dimension) features by the published protocol: scikit-learn's MiniBatchKMeans with 10
    restarts on the union, the curve averaged over `runs` of them.

    Unequal counts would bias the curve, so a random subset of the larger side, drawn with `seed`, is as
    large as the smaller. The union is held in float32. Raises `JudgementError` where a side has fewer images
    than there are clusters, and where a value is not finite.
    """
    if clusters < 2 or runs < 1:
        raise JudgementError(f"PRD needs at least 2 clusters and 1 run: {clusters} and {runs} were given")
    check_pair(fakes, reference, least=clusters)
    random = np.random.default_rng(seed)
    count = min(len(fakes), len(reference))
    union = np.concatenate([_subset(side, count, random) for side in (reference, fakes)])
    curves = []
    for _ in range(runs):
        raise_if_cancelled()
        place = _clustered(union, clusters, int(random.integers(2**31)))
        of_reference, of_fakes = (
            np.bincount(side, minlength=clusters) / count for side in (place[:count], place[count:])
        )
        curves.append(prd_of_histograms(of_reference, of_fakes, angles))
    mean = PrdCurve(
        np.mean([one.precision for one in curves], axis=0), np.mean([one.recall for one in curves], axis=0)
    )
    f8, f1_8, f1 = (mean.greatest_f(beta) for beta in BETAS)
    f8_deviation, f1_8_deviation, f1_deviation = (
        float(np.std([one.greatest_f(beta) for one in curves])) for beta in BETAS
    )
    left_out = max(len(fakes), len(reference)) - count
    return Prd(
        mean, f8, f1_8, f1, f8_deviation, f1_8_deviation, f1_deviation, runs, clusters, count, left_out
    )


def prd_of_histograms(
    reference_histogram: Float64Array, fake_histogram: Float64Array, angles: int = ANGLES
) -> PrdCurve:
    """The curve of two histograms over the same clusters, each of which sums to 1.

    The slopes are the tangents of `angles` even angles between 0 and 90 degrees. Raises `JudgementError`
    where the histograms are none.
    """
    if angles < 3:
        raise JudgementError(f"a curve needs at least 3 angles, {angles} were given")
    for which, histogram in (("reference", reference_histogram), ("fakes", fake_histogram)):
        if histogram.shape != reference_histogram.shape or histogram.ndim != 1:
            raise JudgementError(
                f"histograms of shapes {reference_histogram.shape} and {fake_histogram.shape} "
                "have not the same clusters"
            )
        if not (histogram >= 0).all() or not np.isclose(histogram.sum(), 1, rtol=0, atol=1e-9):
            raise JudgementError(f"the histogram of the {which} is not one of shares that sum to 1")
    slopes = np.tan(np.linspace(NARROWEST, np.pi / 2 - NARROWEST, angles))
    precision = np.minimum(slopes[:, None] * reference_histogram, fake_histogram).sum(1)
    # Rounding leaves the ends above 1 by a few ulp.
    return PrdCurve(np.clip(precision, 0, 1), np.clip(precision / slopes, 0, 1))


def _subset(side: FloatArray, count: int, random: np.random.Generator) -> npt.NDArray[np.float32]:
    """`count` rows, all or a random subset in their order, as float32."""
    if len(side) > count:
        side = side[np.sort(random.permutation(len(side))[:count])]
    return side.astype(np.float32)


def _clustered(union: npt.NDArray[np.float32], clusters: int, seed: int) -> npt.NDArray[np.integer]:
    """Of each row, the cluster that it belongs to."""
    from sklearn.cluster import MiniBatchKMeans

    found = MiniBatchKMeans(clusters, n_init=RESTARTS, random_state=seed).fit_predict(union)
    return np.asarray(found)
