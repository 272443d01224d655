"""L1 distances of all pairs, twice differentiable, without a tensor of all differences."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def pairwise_l1(points: Tensor, others: Tensor | None = None) -> Tensor:
    """(sets, points, dimensions) to (sets, points, points): the L1 distances within each set.

    With `others` (sets, others, dimensions): the distances between both, (sets, points, others).
    """
    if others is None:
        distances: Tensor = _PairwiseL1.apply(points)  # type: ignore[no-untyped-call]
    else:
        distances = _L1Between.apply(points, others)  # type: ignore[no-untyped-call]
    return distances


class _PairwiseL1(torch.autograd.Function):
    """`torch.cdist` has no second derivative, which gradient penalties need."""

    @staticmethod
    def forward(ctx: Any, points: Tensor) -> Tensor:
        ctx.save_for_backward(points)
        return torch.cdist(points, points, p=1.0)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Tensor:
        (points,) = ctx.saved_tensors
        # Each distance appears twice and depends on both of its points.
        weights = gradients[0] + gradients[0].transpose(1, 2)
        gradient: Tensor = _L1Gradient.apply(points, points, weights)  # type: ignore[no-untyped-call]
        return gradient


class _L1Between(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, points: Tensor, others: Tensor) -> Tensor:
        ctx.save_for_backward(points, others)
        return torch.cdist(points, others, p=1.0)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, Tensor]:
        points, others = ctx.saved_tensors
        (weights,) = gradients
        of_points: Tensor = _L1Gradient.apply(points, others, weights)  # type: ignore[no-untyped-call]
        of_others: Tensor = _L1Gradient.apply(others, points, weights.transpose(1, 2))  # type: ignore[no-untyped-call]
        return of_points, of_others


class _L1Gradient(torch.autograd.Function):
    """sum over j of weight_ij sign(x_i - y_j): linear in the weights, constant in the points."""

    @staticmethod
    def forward(ctx: Any, points: Tensor, others: Tensor, weights: Tensor) -> Tensor:
        ctx.save_for_backward(points, others)
        distances = torch.cdist(points, others, p=1.0)
        return torch.ops.aten._cdist_backward(weights.contiguous(), points, others, 1.0, distances)  # type: ignore[no-any-return]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Any) -> tuple[None, None, Tensor]:
        points, others = ctx.saved_tensors
        signs = (points[:, :, None] - others[:, None]).sign()
        return None, None, torch.einsum("bic,bijc->bij", gradients[0], signs)
