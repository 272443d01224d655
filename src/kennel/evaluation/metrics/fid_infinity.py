"""FID extrapolated to unlimited images (Chong and Forsyth 2020, arXiv 1911.07023, section 4).

The FID of N images is too large by a term that falls as 1/N and depends on the generator, so two generators
may be ranked wrongly even at equal counts. FID is measured at several counts, and a line

    FID(N) = value + slope / N

is fitted by least squares; its intercept is the FID for infinite N. The bias from the reference's own count
remains; it is equal for all generators.
"""

from dataclasses import dataclass

import numpy as np

from kennel.cancellation import raise_if_cancelled
from kennel.errors import JudgementError
from kennel.evaluation.metrics._checks import check_features
from kennel.evaluation.metrics.fid import frechet_distance
from kennel.features.moments import BLOCK, FloatArray, Moments, MomentsAccumulator

POINTS = 15
MIN_COUNT = 5000  # The smallest subset, as in the paper, if there are at least twice as many images


@dataclass(frozen=True)
class FidInfinity:
    """`value` is the intercept, `slope` the factor of 1/N, `fids` the distances at `counts` images.

    `standard_error` is that of the intercept in the line fit, from the residuals alone. It measures how
    straight the points are, not the error of the value: the subsets are nested, so residuals are correlated,
    and the choice of images is not in it (for Gaussians in 16 dimensions it is a fifth of the spread between
    draws). `r_squared` is the share of the distances' variance that the line explains, 1 if they are all
    equal.
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

    FID is measured at `points` evenly spaced counts from `minimum` (default: 5,000, or half of fewer than
    10,000 images) to all images. The images are shuffled with `seed` and each subset is a prefix, so the
    moments are accumulated once; the paper draws each subset independently. The value may be negative by
    chance. Raises `JudgementError` if the smallest subset has no more images than dimensions (then FID is not
    linear in 1/N), if the counts are not all different, and for values that are not finite.
    """
    check_features(fakes, "fakes", min_count=4)
    smallest = min(MIN_COUNT, len(fakes) // 2) if minimum is None else minimum
    dimension = fakes.shape[1]
    if smallest <= dimension:
        raise JudgementError(
            f"subsets of {smallest} images in {dimension} dimensions are too small to extrapolate FID: give "
            f"at least {2 * dimension + 2} images and no minimum, or features of fewer dimensions"
        )
    if points < 3 or len(fakes) - smallest < points - 1:
        raise JudgementError(
            f"a line needs at least 3 counts, and {points} different counts from {smallest} to {len(fakes)} "
            "images are not possible: give more images"
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
    return fit_line(counts, fids)


def fit_line(counts: list[int], fids: list[float]) -> FidInfinity:
    """The least-squares line through distances at 3 or more counts, not all equal."""
    inverse, values = 1 / np.array(counts, np.float64), np.array(fids, np.float64)
    centered = inverse - inverse.mean()
    slope = float(centered @ (values - values.mean()) / (centered @ centered))
    value = float(values.mean() - slope * inverse.mean())
    residual = float(((values - value - slope * inverse) ** 2).sum())
    spread = float(((values - values.mean()) ** 2).sum())
    variance = residual / (len(counts) - 2)
    error = np.sqrt(variance * (1 / len(counts) + inverse.mean() ** 2 / (centered @ centered)))
    explained = 1 - residual / spread if spread else 1.0
    return FidInfinity(value, slope, float(error), explained, tuple(counts), tuple(fids))
