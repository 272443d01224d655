"""Layers with an equalized learning rate: weights start as N(0, 1), and each pass scales them by a constant.

Karras et al. 2018 (arXiv 1710.10196, section 4.1). The constant is that of He et al. 2015, 1 / sqrt(fan-in),
which initially keeps the variance. Adam's steps have the same size for all weights, so they change every
layer by the same share of its weights.

A leaky ReLU of slope 0.2 keeps about half of the variance; `GAIN` compensates for it. The activation is
homogeneous, so the gain is part of the layer before it.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from kennel.networks.layers.conv import Convolution

GAIN = math.sqrt(2)
"""StyleGAN2's, before a leaky ReLU of slope 0.2."""


def exact(values: Tensor) -> Tensor:
    """Casts lower precisions to float32; float64 stays."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


class EqualizedLinear(nn.Linear):
    """gain (multiplier / sqrt(inputs) W x + multiplier b), in float32 at any precision of the pass.

    W starts as N(0, 1) / `multiplier`: the layer starts like others, with `multiplier` times the learning
    rate.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        bias: float | None = 0.0,
        gain: float = 1.0,
        multiplier: float = 1.0,
    ) -> None:
        super().__init__(in_features, out_features, bias is not None)
        self.scale = gain * multiplier / in_features**0.5
        self.shift = gain * multiplier
        nn.init.normal_(self.weight, 0.0, 1 / multiplier)
        if bias is not None:
            nn.init.constant_(self.bias, bias / multiplier)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - its name in nn.Linear
        with torch.autocast(input.device.type, enabled=False):
            bias = None if self.bias is None else self.bias * self.shift
            return linear(exact(input), self.weight * self.scale, bias)

    def like(self, layer: nn.Linear) -> "EqualizedLinear":
        """A layer with the constants of this one and, after scaling, the weights of `layer`."""
        made = EqualizedLinear(
            layer.in_features, layer.out_features, bias=None if layer.bias is None else 0.0
        )
        made.scale, made.shift = self.scale, self.shift
        with torch.no_grad():
            made.weight.copy_(layer.weight / self.scale)
            if layer.bias is not None:
                made.bias.copy_(layer.bias / self.shift)
        return made


class EqualizedConvolution(Convolution):
    """gain (W / sqrt(channels kernel^2) * maps + b); W starts as N(0, 1) and b as 0."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        *,
        stride: int = 1,
        padding: int = 0,
        bias: bool = True,
        gain: float = 1.0,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel, stride=stride, padding=padding, bias=bias)
        self.gain = gain
        self.scale = gain / (in_channels * kernel**2) ** 0.5
        nn.init.normal_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def scaled_parameters(self) -> tuple[Tensor, Tensor | None]:
        return self.weight * self.scale, None if self.bias is None else self.bias * self.gain
