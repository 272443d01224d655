"""StyleGAN2's modulated convolutions (Karras et al. 2020, arXiv 1912.04958, section 2.2).

A style s scales the input channels of a convolution's weights, and demodulation divides each output channel
by the length of its scaled weights:

    w'_jik = s_i w_jik        w''_jik = w'_jik / sqrt( sum over i, k of w'_jik^2 + 1e-8 )        (eq. 1, 3)

Every image has a style and thus weights of its own. But a convolution is linear: by s_i scaled maps through
the shared weights, their outputs divided by the same lengths, are the same. So all images go through one
convolution, and no weights are made for each.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from kennel.networks.layers.conv import TransposedConvolution, convolve
from kennel.networks.layers.equalized import GAIN, EqualizedConvolution
from kennel.shapes import Features

EPSILON = 1e-8


class Blur(nn.Module):
    """The binomial filter of these taps along both axes, times `gain`; beyond the border is 0."""

    kernel: Tensor

    def __init__(self, taps: tuple[float, ...], padding: int, gain: float = 1.0) -> None:
        """`padding` zeros on every side."""
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
    """[1, 3, 3, 1] at a step of 2: half the side.

    As [1, 2, 1] and the mean of 2x2, which is the same and which CPUs have fast kernels for.
    """

    def __init__(self) -> None:
        """There is nothing to choose."""
        super().__init__((1.0, 2.0, 1.0), 1)

    def forward(self, maps: Tensor) -> Tensor:
        """(batch, channels, side, side) to (batch, channels, side / 2, side / 2)."""
        return avg_pool2d(super().forward(maps), 2)


class ModulatedConvolution(EqualizedConvolution):
    """A convolution of modulated maps that keeps the side; without `demodulates`, its outputs stay long."""

    def __init__(self, width: int, wider: int, kernel: int, *, demodulates: bool = True) -> None:
        """From `width` to `wider` channels, times `GAIN` where it demodulates."""
        super().__init__(width, wider, kernel, padding=kernel // 2, bias=False)
        self.demodulates = demodulates

    def applied(self) -> tuple[Tensor, None]:
        """The weight, scaled where that makes a difference."""
        return self.weight if self.demodulates else self.weight * self.scale, None

    def forward(self, input: Tensor, styles: Features, shift: Tensor) -> Tensor:  # type: ignore[override] # noqa: A002
        """The convolution of (batch, width, side, side) by styles (batch, width), plus `shift` (wider,)."""
        weight, _ = self.applied()
        made = self.by(_scaled(input, styles), weight, None)
        factors = demodulation(styles, weight.square().sum((2, 3)).T) * GAIN if self.demodulates else None
        return _finished(made, factors, shift)


class ModulatedDoubling(TransposedConvolution):
    """The same with twice the side: a transposed 3x3 convolution of step 2, and the filter [1, 3, 3, 1].

    Where zeros stand between the pixels, the filter is that of bilinear interpolation. The order of the two
    is of no account but for the number of products: here the convolution sees the smaller maps.
    """

    def __init__(self, width: int, wider: int) -> None:
        """From `width` to `wider` channels, times `GAIN`."""
        super().__init__(width, wider, 3, stride=2, bias=False)
        nn.init.normal_(self.weight)
        self.blur = Blur((1.0, 3.0, 3.0, 1.0), 1, gain=4.0)

    def forward(self, input: Tensor, styles: Features, shift: Tensor) -> Tensor:  # type: ignore[override] # noqa: A002
        """(batch, width, side, side), styles (batch, width) to (batch, wider, 2 side, 2 side)."""
        weight = self.weight  # read once, as in `Convolution`
        made = self.blur(self.by(_scaled(input, styles), weight, None))
        return _finished(made, demodulation(styles, weight.square().sum((2, 3))) * GAIN, shift)


def demodulation(styles: Features, squares: Tensor) -> Tensor:
    """1 / length of each output channel's weights under these styles (batch, outputs), float32.

    `squares` (inputs, outputs) are sums of squared weights over the kernel.
    """
    with torch.autocast(styles.device.type, enabled=False):
        return (styles.square() @ squares + EPSILON).rsqrt()


def _scaled(maps: Tensor, styles: Features) -> Tensor:
    return maps * styles.to(maps.dtype)[:, :, None, None]


def _finished(maps: Tensor, factors: Tensor | None, shift: Tensor) -> Tensor:
    """`maps` times `factors` (batch, channels), plus `shift` (channels,)."""
    lowered = shift.to(maps.dtype)[:, None, None]
    if factors is None:
        return maps + lowered
    return torch.addcmul(lowered, maps, factors.to(maps.dtype)[:, :, None, None])
