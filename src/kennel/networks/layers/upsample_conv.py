"""Nearest-neighbor upsampling and a 3x3 convolution, as one transposed convolution.

Unlike a transposed convolution with 16 free weights it has no checkerboard artifacts (Odena, Dumoulin and
Olah 2016, "Deconvolution and Checkerboard Artifacts"): the four new pixels share nine weights. It needs 16
multiplications per coarse pixel instead of 36.
"""

from torch import Tensor, nn
from torch.nn.functional import conv_transpose2d, pad


class UpsampleConv2d(nn.Conv2d):
    """A 3x3 convolution of upsampled maps."""

    def __init__(self, in_channels: int, out_channels: int, *, bias: bool = True) -> None:
        super().__init__(in_channels, out_channels, 3, padding=1, bias=bias)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - its name in nn.Conv2d
        """(batch, in, side, side) to (batch, out, 2 side, 2 side)."""
        # Each coarse pixel contributes at four adjacent positions, so its kernel is the sum of four shifted
        # kernels: 4x4, flipped for a transposed convolution.
        kernel = self.weight.flip(2, 3).transpose(0, 1)
        spread = pad(kernel, (0, 1, 0, 1)) + pad(kernel, (1, 0, 0, 1))
        spread = spread + pad(kernel, (0, 1, 1, 0)) + pad(kernel, (1, 0, 1, 0))
        return conv_transpose2d(input, spread, self.bias, stride=2, padding=1)
