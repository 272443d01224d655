"""The Fréchet inception distance (Heusel et al., arXiv 1706.08500, equation 6) in float64.

    FID = |m1 - m2|^2 + Tr(S1 + S2 - 2 (S1 S2)^(1/2))

The trace of the square root comes from symmetric problems only, so it is never complex and never NaN. With
S1 = L L^T the eigenvalues of S1 S2 are those of L^T S2 L: one Cholesky factor and one symmetric eigenvalue
problem. Where a covariance is singular, as with fewer images than dimensions, both are factored by their
eigenvectors, S1 = A A^T and S2 = B B^T, and the trace is the sum of the singular values of A^T B.
"""

import torch
from torch import Tensor

from kennel.errors import JudgementError
from kennel.features.moments import Moments

WELL_CONDITIONED = 1e-11
"""Squared ratio of a Cholesky factor's extreme pivots above which the fast path is exact to 1e-8."""


def frechet_distance(one: Moments, other: Moments) -> float:
    """The Fréchet distance between two Gaussians of these moments; at least 0.

    Raises `JudgementError` where the dimensions differ or a value is not finite.
    """
    if one.dimension != other.dimension:
        raise JudgementError(
            f"features of {one.dimension} and {other.dimension} dimensions cannot be compared: "
            "use one extractor for both sides"
        )
    first, second = torch.from_numpy(one.covariance), torch.from_numpy(other.covariance)
    offset = torch.from_numpy(one.mean - other.mean)
    if not all(bool(part.isfinite().all()) for part in (first, second, offset)):
        raise JudgementError("the statistics hold NaN or infinite values: compute them again from the images")
    trace = trace_of_root(first, second, one.count - 1, other.count - 1)
    return max(0.0, float(offset @ offset + first.trace() + second.trace() - 2 * trace))


def trace_of_root(first: Tensor, second: Tensor, first_rank: int, second_rank: int) -> Tensor:
    """Tr((S1 S2)^(1/2)) of two covariances, float64 (D, D), whose ranks are at most those given."""
    # Scaled to unit mean variance, so that features of any magnitude meet the same thresholds.
    dimension = len(first)
    first_scale, second_scale = first.trace() / dimension, second.trace() / dimension
    if first_scale <= 0 or second_scale <= 0:
        return torch.zeros((), dtype=first.dtype)
    first, second = first / first_scale, second / second_scale
    back = dimension * (first_scale * second_scale).sqrt()
    root = None
    if first_rank >= dimension and second_rank >= dimension:
        root = _by_cholesky(first, second)
    if root is None:
        ways = _factor(first, first_rank).T @ _factor(second, second_rank)
        root = torch.linalg.svdvals(ways).sum()
    return root / dimension * back


def _by_cholesky(first: Tensor, second: Tensor) -> Tensor | None:
    """The fast path; None where either covariance is too near to singular for it."""
    lower, failed = torch.linalg.cholesky_ex(first)
    if failed or not _well_conditioned(lower):
        return None
    inner = lower.T @ second @ lower
    values = torch.linalg.eigvalsh((inner + inner.T) / 2)
    if values[0] < WELL_CONDITIONED**2 * values[-1]:
        return None
    root: Tensor = values.sqrt().sum()
    return root


def _well_conditioned(lower: Tensor) -> bool:
    pivots = lower.diagonal()
    return bool((pivots.min() / pivots.max()) ** 2 > WELL_CONDITIONED)


def _factor(covariance: Tensor, rank: int) -> Tensor:
    """A of (D, at most `rank`) with A A^T = covariance, without the directions that are rounding."""
    values, vectors = torch.linalg.eigh((covariance + covariance.T) / 2)
    noise = len(values) * torch.finfo(values.dtype).eps * values[-1]
    first_kept = max(int((values <= noise).sum()), len(values) - rank, 0)
    factor: Tensor = vectors[:, first_kept:] * values[first_kept:].sqrt()
    return factor
