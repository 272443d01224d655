"""StyleGAN2's modulated convolutions (Karras et al. 2020, arXiv 1912.04958, section 2.2).

A style s scales the input channels of a convolution's weights, and demodulation divides each output channel
by the norm of its scaled weights:

    w'_jik = s_i w_jik        w''_jik = w'_jik / sqrt( sum over i, k of w'_jik^2 + 1e-8 )        (eq. 1, 3)

Every image has its own weights. As a convolution is linear, scaling the input maps by s_i and dividing the
outputs by the norms is equivalent. So one convolution with shared weights serves all images.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from kennel.networks.layers.conv import TransposedConvolution, convolve
from kennel.networks.layers.equalized import GAIN, EqualizedConvolution
from kennel.shapes import Features

EPSILON = 1e-8


class Blur(nn.Module):
    """The binomial filter of these taps along both axes, times `gain`, with zero padding."""

    kernel: Tensor

    def __init__(self, taps: tuple[float, ...], padding: int, gain: float = 1.0) -> None:
        super().__init__()
        self.padding = padding
        line = torch.tensor(taps) / sum(taps)
        self.register_buffer("kernel", gain * torch.outer(line, line)[None, None], persistent=False)

    def forward(self, maps: Tensor) -> Tensor:
        """(batch, channels, side, side) to the same, with side + 2 padding - taps + 1."""
        channels = maps.shape[1]
        kernel = self.kernel.to(maps.dtype).expand(channels, 1, -1, -1)
        return convolve(maps, kernel, stride=1, padding=self.padding, groups=channels)


class Halving(Blur):
    """[1, 3, 3, 1] with stride 2: half the side.

    Computed as [1, 2, 1] and a 2x2 mean, which is equal and faster on a CPU.
    """

    def __init__(self) -> None:
        super().__init__((1.0, 2.0, 1.0), 1)

    def forward(self, maps: Tensor) -> Tensor:
        return avg_pool2d(super().forward(maps), 2)


class ModulatedConvolution(EqualizedConvolution):
    """A modulated convolution that keeps the side; demodulation is optional."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, *, demodulates: bool = True) -> None:
        """The output is multiplied by `GAIN` if it demodulates."""
        super().__init__(in_channels, out_channels, kernel, padding=kernel // 2, bias=False)
        self.demodulates = demodulates

    def scaled_parameters(self) -> tuple[Tensor, None]:
        # Demodulation cancels the scale.
        return self.weight if self.demodulates else self.weight * self.scale, None

    def forward(self, input: Tensor, styles: Features, shift: Tensor) -> Tensor:  # type: ignore[override] # noqa: A002
        """Convolves (batch, in, side, side) by styles (batch, in), and adds `shift` (out,)."""
        weight, _ = self.scaled_parameters()
        maps = self.convolve_with(_modulated(input, styles), weight, None)
        factors = demodulation(styles, weight.square().sum((2, 3)).T) * GAIN if self.demodulates else None
        return _scaled_and_shifted(maps, factors, shift)


class ModulatedDoubling(TransposedConvolution):
    """The same with twice the side: a transposed 3x3 convolution of stride 2, and the filter [1, 3, 3, 1].

    On zero-interleaved pixels the filter is bilinear interpolation. The convolution comes first, on the
    smaller maps, as the order does not change the result.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 3, stride=2, bias=False)
        nn.init.normal_(self.weight)
        self.blur = Blur((1.0, 3.0, 3.0, 1.0), 1, gain=4.0)

    def forward(self, input: Tensor, styles: Features, shift: Tensor) -> Tensor:  # type: ignore[override] # noqa: A002
        """(batch, in, side, side), styles (batch, in) to (batch, out, 2 side, 2 side)."""
        weight = self.weight  # read once, as in `Convolution`
        maps = self.blur(self.convolve_with(_modulated(input, styles), weight, None))
        return _scaled_and_shifted(maps, demodulation(styles, weight.square().sum((2, 3))) * GAIN, shift)


def demodulation(styles: Features, squares: Tensor) -> Tensor:
    """1 / norm of each output channel's weights under these styles (batch, outputs), float32.

    `squares` (inputs, outputs) are sums of squared weights over the kernel.
    """
    with torch.autocast(styles.device.type, enabled=False):
        return (styles.square() @ squares + EPSILON).rsqrt()


def _modulated(maps: Tensor, styles: Features) -> Tensor:
    return maps * styles.to(maps.dtype)[:, :, None, None]


def _scaled_and_shifted(maps: Tensor, factors: Tensor | None, shift: Tensor) -> Tensor:
    """`maps` times `factors` (batch, channels), plus `shift` (channels,)."""
    shift = shift.to(maps.dtype)[:, None, None]
    if factors is None:
        return maps + shift
    return torch.addcmul(shift, maps, factors.to(maps.dtype)[:, :, None, None])
