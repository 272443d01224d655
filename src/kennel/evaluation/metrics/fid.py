"""The Fréchet inception distance (Heusel et al., arXiv 1706.08500, equation 6) in float64.

    FID = |m1 - m2|^2 + Tr(S1 + S2 - 2 (S1 S2)^(1/2))

The trace of the square root is computed from symmetric problems only, so it is never complex and never NaN.
With S1 = L L^T the eigenvalues of S1 S2 are those of L^T S2 L: one Cholesky factor and one symmetric
eigenvalue problem. If a covariance is singular, both are factored, S1 = A^T A and S2 = B^T B, and the trace
is the sum of the singular values of A B^T. With fewer images than dimensions A holds the centered rows;
otherwise it comes from the eigenvectors.
"""

import itertools

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kennel.errors import JudgementError
from kennel.features.moments import FloatArray, Moments, blocks

WELL_CONDITIONED = 1e-11
"""Squared ratio of a Cholesky factor's smallest and largest pivot above which the fast path is exact to 1e-8.
"""

MIN_EIGENVALUE_RATIO = 1e-14
"""The minimum ratio of the smallest to the largest eigenvalue of L^T S2 L for a standard error."""

TRIANGLE_BLOCKS = 4


def frechet_distance(one: Moments, other: Moments) -> float:
    """The Fréchet distance between two Gaussians with these moments; at least 0. Raises `JudgementError` if
    the dimensions differ or a value is not finite."""
    if one.dimension != other.dimension:
        raise JudgementError(
            f"features of {one.dimension} and {other.dimension} dimensions cannot be compared: "
            "use the same extractor for both sides"
        )
    offset = one.mean - other.mean
    if not all(np.isfinite(part).all() for part in (offset, one.covariance, other.covariance)):
        raise JudgementError(
            "the statistics contain NaN or infinite values: compute them again from the images"
        )
    spread = float(np.trace(one.covariance) + np.trace(other.covariance))
    return max(0.0, float(offset @ offset) + spread - 2 * trace_of_sqrt(one, other))


def trace_of_sqrt(one: Moments, other: Moments) -> float:
    """Tr((S1 S2)^(1/2)) of two covariances."""
    if not one.covariance.trace() > 0 or not other.covariance.trace() > 0:
        return 0.0
    # Scaled to unit mean variance, so that the thresholds fit features of any magnitude.
    first, first_scale = _scaled(one)
    second, second_scale = _scaled(other)
    lower = _cholesky(one, first)
    if lower is not None and other.factor is None:
        values = torch.linalg.eigvalsh(_congruence(lower, second))  # reads the lower half only
        if values[0] > WELL_CONDITIONED**2 * values[-1]:
            return float(values.sqrt().sum()) * first_scale * second_scale
    rows = _factor(one, first, first_scale, lower)
    other_rows = _factor(other, second, second_scale, _cholesky(other, second))
    return float(torch.linalg.svdvals(rows @ other_rows.T).sum()) * first_scale * second_scale


def standard_error(one: Moments, other: Moments, rows: FloatArray, other_rows: FloatArray) -> float | None:
    """The standard error of the distance, by its first derivative in both distributions.

    The Fréchet distance is smooth in the moments. With T the map that transports N(m1, S1) to N(m2, S2), T S1
    T = S2, the influence of a row x is

        2 (m1 - m2) . (x - m1) + (x - m1)^T (I - T) (x - m1) - Tr((I - T) S1)

    and likewise for the other side with the inverse of T. The variance is that of the influences divided by
    their count, added over both sides (the delta method, van der Vaart 1998, section 20.1). It does not cover
    the bias of a small sample. Features that are constant on a side are left out of T. None if a covariance
    of the others is singular or nearly so.
    """
    varying = (one.covariance.diagonal() > 0) & (other.covariance.diagonal() > 0)
    if not varying.any():
        return None
    first, first_scale = _scaled(one)
    second, second_scale = _scaled(other)
    if not varying.all():
        first, second = (covariance[np.ix_(varying, varying)] for covariance in (first, second))
    lower, other_lower = _cholesky(one, first), _cholesky(other, second)
    if lower is None or other_lower is None:
        return None
    values, vectors = torch.linalg.eigh(lower.T @ second @ lower)
    # x^T T x is z^T M^(1/2) z for x = L z, so rounding errors of the smallest eigenvalues hardly matter.
    if values[0] <= MIN_EIGENVALUE_RATIO * values[-1]:
        return None
    ratio = second_scale / first_scale
    inverse = torch.linalg.solve_triangular(lower, torch.eye(len(lower), dtype=lower.dtype), upper=False)
    transport = inverse.T @ (vectors * values.sqrt()) @ vectors.T @ inverse * ratio
    inverse_transport = lower @ (vectors / values.sqrt()) @ vectors.T @ lower.T / ratio
    offset = torch.from_numpy(one.mean - other.mean)
    variance = _influence_variance(rows, one, _embedded(transport, varying), offset, first_scale) / one.count
    variance += (
        _influence_variance(other_rows, other, _embedded(inverse_transport, varying), -offset, first_scale)
        / other.count
    )
    return float(np.sqrt(variance)) * first_scale**2


def _embedded(of_varying: Tensor, varying: npt.NDArray[np.bool_]) -> Tensor:
    """A map of the varying features as a map of all features, 0 for the others."""
    if varying.all():
        return of_varying
    indices = torch.from_numpy(varying.nonzero()[0])
    embedded = of_varying.new_zeros(len(varying), len(varying))
    embedded[indices[:, None], indices] = of_varying
    return embedded


def _influence_variance(
    rows: FloatArray, moments: Moments, transport: Tensor, offset: Tensor, scale: float
) -> float:
    """The variance of the influences of `rows`, divided by `scale`^4; float32 has enough digits and range for
    it."""
    curvature = (torch.eye(len(transport), dtype=transport.dtype) - transport).float()
    influences = []
    for block in blocks(rows):
        centered = torch.from_numpy((block - moments.mean) / scale).float()
        influences.append(
            ((centered @ curvature) * centered).sum(1) + 2 * centered @ (offset / scale).float()
        )
    return float(torch.cat(influences).double().var())


def _congruence(lower: Tensor, symmetric: Tensor) -> Tensor:
    """The lower half of L^T S L for a lower triangular L, with arbitrary numbers above it. It works in blocks
    and skips the zero and the symmetric halves: three fifths of the operations of two full products."""
    size = len(lower)
    edges = [size * part // TRIANGLE_BLOCKS for part in range(TRIANGLE_BLOCKS + 1)]
    left, result = torch.empty_like(symmetric), torch.zeros_like(symmetric)
    for start, end in itertools.pairwise(edges):
        left[start:end] = lower[start:, start:end].T @ symmetric[start:]
    for start, end in itertools.pairwise(edges):
        result[start:, start:end] = left[start:, start:] @ lower[start:, start:end]
    return result


def _scaled(moments: Moments) -> tuple[Tensor, float]:
    """The covariance scaled to a mean variance of 1, and the scale of the features."""
    scale = float(np.sqrt(moments.covariance.trace() / moments.dimension))
    return torch.from_numpy(moments.covariance / scale**2), scale


def _cholesky(moments: Moments, covariance: Tensor) -> Tensor | None:
    """The lower factor; None if the covariance is singular or nearly so."""
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
