"""The Fréchet inception distance (Heusel et al., arXiv 1706.08500, equation 6) in float64.

    FID = |m1 - m2|^2 + Tr(S1 + S2 - 2 (S1 S2)^(1/2))

The trace of the square root comes from symmetric problems only, so it is never complex and never NaN. With
S1 = L L^T the eigenvalues of S1 S2 are those of L^T S2 L: one Cholesky factor and one symmetric eigenvalue
problem. Where a covariance is singular, both are factored, S1 = A^T A and S2 = B^T B, and the trace is the
sum of the singular values of A B^T: with fewer images than dimensions A holds the centred rows themselves,
else it comes from the eigenvectors.
"""

import itertools

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kennel.errors import JudgementError
from kennel.features.moments import FloatArray, Moments, blocks

WELL_CONDITIONED = 1e-11
"""Squared ratio of a Cholesky factor's extreme pivots above which the fast path is exact to 1e-8."""

TOLD_FROM_ROUNDING = 1e-14
"""The least eigenvalue of L^T S2 L by the greatest with which a standard error is given."""

TRIANGLE_BLOCKS = 4


def frechet_distance(one: Moments, other: Moments) -> float:
    """The Fréchet distance between two Gaussians of these moments; at least 0.

    Raises `JudgementError` where the dimensions differ or a value is not finite.
    """
    if one.dimension != other.dimension:
        raise JudgementError(
            f"features of {one.dimension} and {other.dimension} dimensions cannot be compared: "
            "use one extractor for both sides"
        )
    offset = one.mean - other.mean
    if not all(np.isfinite(part).all() for part in (offset, one.covariance, other.covariance)):
        raise JudgementError("the statistics hold NaN or infinite values: compute them again from the images")
    spread = float(np.trace(one.covariance) + np.trace(other.covariance))
    return max(0.0, float(offset @ offset) + spread - 2 * trace_of_root(one, other))


def trace_of_root(one: Moments, other: Moments) -> float:
    """Tr((S1 S2)^(1/2)) of two covariances."""
    if not one.covariance.trace() > 0 or not other.covariance.trace() > 0:
        return 0.0
    # Scaled to unit mean variance, so that features of any magnitude meet the same thresholds.
    first, first_scale = _scaled(one)
    second, second_scale = _scaled(other)
    lower = _cholesky(one, first)
    if lower is not None and other.factor is None:
        values = torch.linalg.eigvalsh(_congruence(lower, second))  # it reads the lower half
        if values[0] > WELL_CONDITIONED**2 * values[-1]:
            return float(values.sqrt().sum()) * first_scale * second_scale
    rows = _factor(one, first, first_scale, lower)
    other_rows = _factor(other, second, second_scale, _cholesky(other, second))
    return float(torch.linalg.svdvals(rows @ other_rows.T).sum()) * first_scale * second_scale


def standard_error(one: Moments, other: Moments, rows: FloatArray, other_rows: FloatArray) -> float | None:
    """How much the distance varies from sample to sample, by its first derivative in both distributions.

    The Fréchet distance is smooth in the moments: with T the map that carries N(m1, S1) onto N(m2, S2),
    T S1 T = S2, the influence of a row x on it is

        2 (m1 - m2) . (x - m1) + (x - m1)^T (I - T) (x - m1) - Tr((I - T) S1)

    and likewise for the other side with the inverse of T. The variance is that of the influences by their
    count, added over both sides (the delta method, van der Vaart 1998, section 20.1). It knows nothing of
    the bias of a small sample. A feature that is constant on a side has no share in the root, and T is that
    of the others. None where a covariance of those is singular, or near to it.
    """
    live = (one.covariance.diagonal() > 0) & (other.covariance.diagonal() > 0)
    if not live.any():
        return None
    first, first_scale = _scaled(one)
    second, second_scale = _scaled(other)
    if not live.all():
        first, second = (covariance[np.ix_(live, live)] for covariance in (first, second))
    lower, other_lower = _cholesky(one, first), _cholesky(other, second)
    if lower is None or other_lower is None:
        return None
    values, vectors = torch.linalg.eigh(lower.T @ second @ lower)
    # x^T T x is z^T M^(1/2) z of x = L z, so that what rounding does to the least eigenvalues hardly counts.
    if values[0] <= TOLD_FROM_ROUNDING * values[-1]:
        return None
    ratio = second_scale / first_scale
    inverse = torch.linalg.solve_triangular(lower, torch.eye(len(lower), dtype=lower.dtype), upper=False)
    onto = inverse.T @ (vectors * values.sqrt()) @ vectors.T @ inverse * ratio
    back = lower @ (vectors / values.sqrt()) @ vectors.T @ lower.T / ratio
    offset = torch.from_numpy(one.mean - other.mean)
    variance = _influence_variance(rows, one, _among_all(onto, live), offset, first_scale) / one.count
    variance += (
        _influence_variance(other_rows, other, _among_all(back, live), -offset, first_scale) / other.count
    )
    return float(np.sqrt(variance)) * first_scale**2


def _among_all(of_live: Tensor, live: npt.NDArray[np.bool_]) -> Tensor:
    """A map of the live features as one of all, which gives 0 to the others."""
    if live.all():
        return of_live
    places = torch.from_numpy(live.nonzero()[0])
    whole = of_live.new_zeros(len(live), len(live))
    whole[places[:, None], places] = of_live
    return whole


def _influence_variance(
    rows: FloatArray, moments: Moments, onto: Tensor, offset: Tensor, scale: float
) -> float:
    """The variance of the influences of `rows` by `scale`; float32 has digits and then room enough for it."""
    curvature = (torch.eye(len(onto), dtype=onto.dtype) - onto).float()
    influences = []
    for block in blocks(rows):
        centred = torch.from_numpy((block - moments.mean) / scale).float()
        influences.append(((centred @ curvature) * centred).sum(1) + 2 * centred @ (offset / scale).float())
    return float(torch.cat(influences).double().var())


def _congruence(lower: Tensor, symmetric: Tensor) -> Tensor:
    """The lower half of L^T S L, and arbitrary numbers above it, for a lower triangular L.

    Block by block, the halves of L and of the result that are zero or known are left out: three fifths of
    the operations of two full products.
    """
    size = len(lower)
    edges = [size * part // TRIANGLE_BLOCKS for part in range(TRIANGLE_BLOCKS + 1)]
    left, result = torch.empty_like(symmetric), torch.zeros_like(symmetric)
    for start, end in itertools.pairwise(edges):
        left[start:end] = lower[start:, start:end].T @ symmetric[start:]
    for start, end in itertools.pairwise(edges):
        result[start:, start:end] = left[start:, start:] @ lower[start:, start:end]
    return result


def _scaled(moments: Moments) -> tuple[Tensor, float]:
    """The covariance with a mean variance of 1, and the scale of the features that was taken out."""
    scale = float(np.sqrt(moments.covariance.trace() / moments.dimension))
    return torch.from_numpy(moments.covariance / scale**2), scale


def _cholesky(moments: Moments, covariance: Tensor) -> Tensor | None:
    """The lower factor; None where the covariance is singular or near to it."""
    if moments.factor is not None or moments.count <= moments.dimension:
        return None
    lower, failed = torch.linalg.cholesky_ex(covariance)
    pivots = lower.diagonal()
    if failed or (pivots.min() / pivots.max()) ** 2 <= WELL_CONDITIONED:
        return None
    result: Tensor = lower
    return result


def _factor(moments: Moments, covariance: Tensor, scale: float, lower: Tensor | None) -> Tensor:
    """A (rows, D) with A^T A = covariance: the rows, the Cholesky factor, or the eigenvectors above noise."""
    if moments.factor is not None:
        return torch.from_numpy(moments.factor / scale)
    if lower is not None:
        return lower.T
    values, vectors = torch.linalg.eigh((covariance + covariance.T) / 2)
    noise = len(values) * torch.finfo(values.dtype).eps * values[-1]
    first_kept = max(int((values <= noise).sum()), len(values) - (moments.count - 1), 0)
    factor: Tensor = (vectors[:, first_kept:] * values[first_kept:].sqrt()).T
    return factor
