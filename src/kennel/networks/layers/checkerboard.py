"""A filter against the checkerboard artifacts of transposed convolutions.

A transposed convolution of stride 2 computes pixels at even and at odd positions from different weights. A
systematic difference between them repeats every two pixels: a checkerboard (Odena, Dumoulin and Olah 2016,
"Deconvolution and Checkerboard Artifacts", Distill). Smoothing removes it together with fine detail; this
filter removes mainly the pattern. Along each axis, it passes the frequency w from 0 to pi (opposite signs of
neighboring pixels) with the factor

    1 - cos(w)^2 sin(w / 2)^2

which is 0 at pi, 0.57 at 3/4 pi, 1 at pi / 2 and at least 0.92 below.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from kennel.shapes import Maps


class CheckerboardFilter(nn.Module):
    """maps - low(high(maps)): subtracts patterns of high frequency and period 2.

    `high` is maps minus their [1, 2, 1] mean along both axes, at the pixels that have all eight neighbors.
    `low` is the [1, 2, 1] mean over every second pixel, which passes a pattern of period 2 unchanged.
    """

    low: Tensor
    high: Tensor

    def __init__(self) -> None:
        super().__init__()
        line = torch.tensor([1.0, 2.0, 1.0]) / 4
        low = torch.outer(line, line)[None, None]
        high = -low
        high[..., 1, 1] += 1
        self.register_buffer("low", low, persistent=False)
        self.register_buffer("high", high, persistent=False)

    def forward(self, maps: Maps) -> Maps:
        high, low = self.high.to(maps.dtype), self.low.to(maps.dtype)
        return maps - cast(Tensor, _Pattern.apply(maps, high, low))  # type: ignore[no-untyped-call]


class _Pattern(torch.autograd.Function):
    """`low(high(maps))`. The kernels are symmetric, so the gradient is a convolution by them too, which is
    faster on a CPU than PyTorch's gradient of a depthwise convolution."""

    @staticmethod
    def forward(context: Any, maps: Tensor, high: Tensor, low: Tensor) -> Tensor:
        context.save_for_backward(high, low)
        return _depthwise(_depthwise(maps, high, padding=0), low, padding=3, dilation=2)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Any:
        return _PatternBackward.apply(gradients[0], *context.saved_tensors), None, None  # type: ignore[no-untyped-call]


class _PatternBackward(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, gradient: Tensor, high: Tensor, low: Tensor) -> Tensor:
        context.save_for_backward(high, low)
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        return _depthwise(_depthwise(gradient, low, padding=1, dilation=2), high, padding=2)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Any:
        return _Pattern.apply(gradients[0], *context.saved_tensors), None, None  # type: ignore[no-untyped-call]


def _depthwise(maps: Tensor, kernel: Tensor, padding: int, dilation: int = 1) -> Tensor:
    channels = maps.shape[1]
    kernel = kernel.expand(channels, -1, -1, -1).contiguous()
    return conv2d(maps, kernel, None, 1, padding, dilation, channels)
