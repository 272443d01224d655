"""A filter against the checkerboards of transposed convolutions.

A transposed convolution of stride 2 makes the pixels at even and at odd places by different weights. Whatever
differs between these by more than chance repeats every two pixels: a lattice (Odena, Dumoulin and Olah 2016,
"Deconvolution and Checkerboard Artifacts", Distill). Smoothing removes it, and the fine detail with it. This
filter removes no more than what repeats: per axis, with the frequency w from 0 to pi (a pixel and its
neighbor of opposite signs), it passes along the axis

    1 - cos(w)^2 sin(w / 2)^2

which is 0 at pi, 0.57 at 3/4 pi, 1 at pi / 2 and never below 0.92 up to there.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from kennel.shapes import Maps


class CheckerboardFilter(nn.Module):
    """maps - low(high(maps)): what is left of neighbors' differences when every second pixel is averaged.

    `high` is maps less their [1, 2, 1] mean along both axes, at the pixels that have all eight neighbors.
    `low` is the [1, 2, 1] mean over every second pixel, which a pattern of period 2 passes unchanged.
    """

    low: Tensor
    high: Tensor

    def __init__(self) -> None:
        """There is nothing to choose."""
        super().__init__()
        line = torch.tensor([1.0, 2.0, 1.0]) / 4
        low = torch.outer(line, line)[None, None]
        high = -low
        high[..., 1, 1] += 1
        self.register_buffer("low", low, persistent=False)
        self.register_buffer("high", high, persistent=False)

    def forward(self, maps: Maps) -> Maps:
        """(batch, channels, height, width) to the same; sides are at least 3."""
        high, low = self.high.to(maps.dtype), self.low.to(maps.dtype)
        return maps - cast(Tensor, _Lattice.apply(maps, high, low))  # type: ignore[no-untyped-call]


class _Lattice(torch.autograd.Function):
    """`low(high(maps))`. Both kernels are symmetric, so the gradient is a convolution by them again: CPUs
    have faster kernels for it than for the gradient of a convolution by channel."""

    @staticmethod
    def forward(context: Any, maps: Tensor, high: Tensor, low: Tensor) -> Tensor:
        context.save_for_backward(high, low)
        return _by_channel(_by_channel(maps, high, padding=0), low, padding=3, dilation=2)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Any:
        return _LatticeBackward.apply(gradients[0], *context.saved_tensors), None, None  # type: ignore[no-untyped-call]


class _LatticeBackward(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, gradient: Tensor, high: Tensor, low: Tensor) -> Tensor:
        context.save_for_backward(high, low)
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        return _by_channel(_by_channel(gradient, low, padding=1, dilation=2), high, padding=2)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Any:
        return _Lattice.apply(gradients[0], *context.saved_tensors), None, None  # type: ignore[no-untyped-call]


def _by_channel(maps: Tensor, kernel: Tensor, padding: int, dilation: int = 1) -> Tensor:
    channels = maps.shape[1]
    kernel = kernel.expand(channels, -1, -1, -1).contiguous()
    return conv2d(maps, kernel, None, 1, padding, dilation, channels)
