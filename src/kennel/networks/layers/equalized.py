"""Layers with an equalized learning rate: weights begin as N(0, 1), and each pass scales them by a constant.

Karras et al. 2018 (arXiv 1710.10196, section 4.1). The constant is that of He et al. 2015, 1 / sqrt(fan-in):
outputs begin with the variance of the inputs, and Adam, of which a step is as long for every weight, moves
every layer by the same share of what its weights are.

A leaky ReLU of slope 0.2 leaves about half of the variance, and `GAIN` puts it back. As the activation only
scales with its input, the gain is part of the layer before it, where it costs nothing.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from kennel.networks.layers.conv import Convolution

GAIN = math.sqrt(2)
"""StyleGAN2's, before a leaky ReLU of slope 0.2."""


def exact(values: Tensor) -> Tensor:
    """The same values in float32, or in float64 where they are that."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


class EqualizedLinear(nn.Linear):
    """gain (multiplier / sqrt(inputs) W x + multiplier b), in float32 whatever the precision of the pass.

    W begins as N(0, 1) / `multiplier`: the layer learns `multiplier` times as fast as others and begins as
    they do.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        bias: float | None = 0.0,
        gain: float = 1.0,
        multiplier: float = 1.0,
    ) -> None:
        """`bias` is what its biases begin at; None for none."""
        super().__init__(inputs, outputs, bias is not None)
        self.scale = gain * multiplier / inputs**0.5
        self.shift = gain * multiplier
        nn.init.normal_(self.weight, 0.0, 1 / multiplier)
        if bias is not None:
            nn.init.constant_(self.bias, bias / multiplier)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - its name in nn.Linear
        """(batch, inputs) to (batch, outputs)."""
        with torch.autocast(input.device.type, enabled=False):
            bias = None if self.bias is None else self.bias * self.shift
            return linear(exact(input), self.weight * self.scale, bias)

    def like(self, layer: nn.Linear) -> "EqualizedLinear":
        """A layer with the weights of `layer`, as what they are after scaling, and the constants of this."""
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
    """gain (W / sqrt(channels kernel^2) * maps + b), with W that begins as N(0, 1) and b as 0."""

    def __init__(
        self,
        width: int,
        wider: int,
        kernel: int,
        *,
        stride: int = 1,
        padding: int = 0,
        bias: bool = True,
        gain: float = 1.0,
    ) -> None:
        """From `width` to `wider` channels."""
        super().__init__(width, wider, kernel, stride=stride, padding=padding, bias=bias)
        self.gain = gain
        self.scale = gain / (width * kernel**2) ** 0.5
        nn.init.normal_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def applied(self) -> tuple[Tensor, Tensor | None]:
        """The scaled weight and bias."""
        return self.weight * self.scale, None if self.bias is None else self.bias * self.gain
