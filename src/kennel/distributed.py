"""All of torch.distributed: how many ranks there are, which one this is, and sums over all of them."""

from typing import Any, cast

import torch
from torch import Tensor, distributed


def _running() -> bool:
    return distributed.is_available() and distributed.is_initialized()


def world_size() -> int:
    """How many ranks train together; 1 where no process group was started."""
    return distributed.get_world_size() if _running() else 1


def rank() -> int:
    """Which of them this process is, from 0; 0 where no process group was started."""
    return distributed.get_rank() if _running() else 0


def summed_over_ranks(tensor: Tensor) -> Tensor:
    """The sum of every rank's `tensor` (of one shape everywhere), on every rank; gradients flow through it.

    The gradient that a rank gets is the sum of the gradients of every rank's loss, so that after `backward`
    on each rank, parameters' gradients summed over the ranks are those of the sum of all losses. Every rank
    must go through it, forward and backward, equally often.
    """
    return cast(Tensor, _Sum.apply(tensor)) if _running() else tensor  # type: ignore[no-untyped-call]


class _Sum(torch.autograd.Function):
    """Every rank's input reaches every rank's output with weight 1, so the backward is the same sum."""

    @staticmethod
    def forward(_context: Any, tensor: Tensor) -> Tensor:
        total = tensor.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(_context: Any, gradient: Tensor) -> Tensor:
        return summed_over_ranks(gradient)
