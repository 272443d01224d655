"""FID extrapolated to unlimited images (Chong and Forsyth 2020, arXiv 1911.07023, section 4).

The FID of N images is too large by a term that falls as 1/N and depends on the generator, so that even at
equal counts two generators may stand in the wrong order. It is measured at several counts and a straight line

    FID(N) = value + slope / N

fitted by least squares; its intercept is FID at N without end. The reference's own bias, which is the same
for every generator, stays in.
"""

from dataclasses import dataclass

import numpy as np

from kennel.cancellation import raise_if_cancelled
from kennel.errors import JudgementError
from kennel.evaluation.metrics._checks import check_features
from kennel.evaluation.metrics.fid import frechet_distance
from kennel.features.moments import BLOCK, FloatArray, Moments, MomentsAccumulator

POINTS = 15
MINIMUM = 5000
"""The paper's smallest subset, where there are at least twice as many images."""


@dataclass(frozen=True)
class FidInfinity:
    """`value` is the intercept, `slope` what 1/N is multiplied by, `fids` the distances at `counts` images.

    `standard_error` is that of the intercept in the straight-line fit, from the residuals alone. As the
    subsets are nested their residuals go together, and what another draw of all the images would change is
    not in it (for Gaussians in 16 dimensions it is a fifth of the spread between draws). It tells how
    straight the points lie, not how far the truth may be. `r_squared` is the share of the variance of the
    distances that the line explains, 1 where they are all equal.
    """

    value: float
    slope: float
    standard_error: float
    r_squared: float
    counts: tuple[int, ...]
    fids: tuple[float, ...]


def fid_infinity(
    fakes: FloatArray, reference: Moments, points: int = POINTS, minimum: int | None = None, seed: int = 0
) -> FidInfinity:
    """FID extrapolated from (count, dimension) fakes against the moments of the reference, in float64.

    FID is measured at `points` counts, evenly spaced from `minimum` (5,000, or half of the images where they
    are fewer than 10,000) to all of them. Here the subsets are nested: the images are shuffled with `seed`
    and each subset is a beginning of that order, so that the moments are gathered once; the paper draws each
    subset anew. The value may be below 0 by chance. Raises `JudgementError` where the smallest subset has no
    more images than dimensions (its covariance is singular and FID no straight line in 1/N), where the counts
    do not differ, and where a value is not finite.
    """
    check_features(fakes, "fakes", least=4)
    smallest = min(MINIMUM, len(fakes) // 2) if minimum is None else minimum
    dimension = fakes.shape[1]
    if smallest <= dimension:
        raise JudgementError(
            f"FID cannot be extrapolated from subsets of {smallest} images in {dimension} dimensions: give "
            f"at least {2 * dimension + 2} images and leave the minimum out, or features of fewer dimensions"
        )
    if points < 3 or len(fakes) - smallest < points - 1:
        raise JudgementError(
            f"{points} different counts from {smallest} to {len(fakes)} images were asked for: a line needs "
            "at least 3, and each its own count: give more images"
        )
    counts = np.linspace(smallest, len(fakes), points).astype(int).tolist()
    order = np.random.default_rng(seed).permutation(len(fakes))
    accumulator, before, fids = MomentsAccumulator(), 0, []
    for count in counts:
        raise_if_cancelled()
        for start in range(before, count, BLOCK):
            accumulator.add(fakes[order[start : min(start + BLOCK, count)]])
        fids.append(frechet_distance(accumulator.moments(), reference))
        before = count
    return fitted_line(counts, fids)


def fitted_line(counts: list[int], fids: list[float]) -> FidInfinity:
    """The least-squares line through distances at counts, at least 3 of them and not all equal."""
    inverse, values = 1 / np.array(counts, np.float64), np.array(fids, np.float64)
    centred = inverse - inverse.mean()
    slope = float(centred @ (values - values.mean()) / (centred @ centred))
    value = float(values.mean() - slope * inverse.mean())
    residual = float(((values - value - slope * inverse) ** 2).sum())
    spread = float(((values - values.mean()) ** 2).sum())
    variance = residual / (len(counts) - 2)
    error = np.sqrt(variance * (1 / len(counts) + inverse.mean() ** 2 / (centred @ centred)))
    explained = 1 - residual / spread if spread else 1.0
    return FidInfinity(value, slope, float(error), explained, tuple(counts), tuple(fids))
