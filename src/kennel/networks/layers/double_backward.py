"""Convolutions with fast derivatives of any order.

PyTorch computes the second derivatives for gradient penalties through convolutions of unusual shapes, and
loops over groups. But a convolution y = x * w is bilinear: its gradients are

    by the maps     g *' w      (the transposed convolution)
    by the weight   x *" g      (the correlation of the two)

and each of the three has the other two as derivatives, so that three kernels are enough for any order.
"""

from typing import Any, Protocol, cast, runtime_checkable

import torch
from torch import Tensor


@runtime_checkable
class Kernel(Protocol):
    """A convolution and its gradients."""

    def apply(self, maps: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The convolution, with the bias if there is one."""

    def gradients(
        self, gradient: Tensor, maps: Tensor, weight: Tensor, needed: tuple[bool, bool, bool]
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """The gradients by the maps, by the weight and by the bias, as `needed`.

        Without the first only the shape of `weight` is used, and without the second only that of `maps`.
        """


def convolved(maps: Tensor, weight: Tensor, bias: Tensor | None, kernel: Kernel) -> Tensor:
    """The convolution by `kernel`, differentiable any number of times."""
    return cast(Tensor, _Convolved.apply(maps, weight, bias, kernel))  # type: ignore[no-untyped-call]


class _Convolved(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, maps: Tensor, weight: Tensor, bias: Tensor | None, kernel: Kernel) -> Tensor:
        context.kernel = kernel
        context.save_for_backward(maps, weight)
        return kernel.apply(maps, weight, bias)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Any:
        maps, weight = context.saved_tensors
        gradient, kernel, needed = gradients[0], context.kernel, context.needs_input_grad[:3]
        if not torch.is_grad_enabled():
            return *kernel.gradients(gradient, maps, weight, needed), None
        of_maps = _of_maps(gradient, weight, kernel, maps) if needed[0] else None
        of_weight = _of_weight(maps, gradient, kernel, weight) if needed[1] else None
        return of_maps, of_weight, gradient.sum((0, 2, 3)) if needed[2] else None, None


class _OfMaps(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, gradient: Tensor, weight: Tensor, kernel: Kernel, like: Tensor) -> Tensor:
        context.kernel = kernel
        context.save_for_backward(gradient, weight)
        return cast(Tensor, kernel.gradients(gradient, like, weight, (True, False, False))[0])

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Any:
        gradient, weight = context.saved_tensors
        kernel, maps = context.kernel, gradients[0]
        of_gradient = convolved(maps, weight, None, kernel) if context.needs_input_grad[0] else None
        of_weight = _of_weight(maps, gradient, kernel, weight) if context.needs_input_grad[1] else None
        return of_gradient, of_weight, None, None


class _OfWeight(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, maps: Tensor, gradient: Tensor, kernel: Kernel, like: Tensor) -> Tensor:
        context.kernel = kernel
        context.save_for_backward(maps, gradient)
        return cast(Tensor, kernel.gradients(gradient, maps, like, (False, True, False))[1])

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Any:
        maps, gradient = context.saved_tensors
        kernel, weight = context.kernel, gradients[0]
        of_maps = _of_maps(gradient, weight, kernel, maps) if context.needs_input_grad[0] else None
        of_gradient = convolved(maps, weight, None, kernel) if context.needs_input_grad[1] else None
        return of_maps, of_gradient, None, None


def _of_maps(gradient: Tensor, weight: Tensor, kernel: Kernel, maps: Tensor) -> Tensor:
    return cast(Tensor, _OfMaps.apply(gradient, weight, kernel, maps.detach()))  # type: ignore[no-untyped-call]


def _of_weight(maps: Tensor, gradient: Tensor, kernel: Kernel, weight: Tensor) -> Tensor:
    """The gradient by the weight; only the shape of `weight` is used."""
    return cast(Tensor, _OfWeight.apply(maps, gradient, kernel, weight.detach()))  # type: ignore[no-untyped-call]
