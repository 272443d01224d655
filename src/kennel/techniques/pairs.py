"""Distances of all pairs of a batch, without a tensor of all differences."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def pairwise_l1(points: Tensor) -> Tensor:
    """(sets, points, dimensions) to (sets, points, points): the L1 distances within each set.

    Differentiable twice. The plain way holds every difference of every pair in memory, and several times
    over on the way back.
    """
    distances: Tensor = _PairwiseL1.apply(points)  # type: ignore[no-untyped-call]
    return distances


class _PairwiseL1(torch.autograd.Function):
    """torch's own distances have no second derivative, which gradient penalties ask for."""

    @staticmethod
    def forward(ctx: Any, points: Tensor) -> Tensor:
        ctx.save_for_backward(points)
        return torch.cdist(points, points, p=1.0)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Tensor:
        (points,) = ctx.saved_tensors
        # A pair's distance is there twice, and moves with both of its points.
        pull: Tensor = _Pull.apply(points, gradients[0] + gradients[0].transpose(1, 2))  # type: ignore[no-untyped-call]
        return pull


class _Pull(torch.autograd.Function):
    """sum over j of weight_ij sign(x_i - x_j): linear in the weights, and flat in the points."""

    @staticmethod
    def forward(ctx: Any, points: Tensor, weights: Tensor) -> Tensor:
        ctx.save_for_backward(points)
        distances = torch.cdist(points, points, p=1.0)
        return torch.ops.aten._cdist_backward(weights.contiguous(), points, points, 1.0, distances)  # type: ignore[no-any-return]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Any) -> tuple[None, Tensor]:
        (points,) = ctx.saved_tensors
        signs = (points[:, :, None] - points[:, None]).sign()
        return None, torch.einsum("bic,bijc->bij", gradients[0], signs)
