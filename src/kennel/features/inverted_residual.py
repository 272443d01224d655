"""The block of MobileNetV2 (Sandler et al. 2018, arXiv 1801.04381), which EfficientNet-Lite shares.

Batch norms are folded into the weights. Convolutions of stride 2 are padded as TensorFlow's SAME does it on
even sides: one pixel more at the right and the bottom.
"""

from torch import Tensor, nn
from torch.nn import functional

from kennel.features.fused import FusedConv2d
from kennel.shapes import Maps


def padded_for_stride_2(maps: Maps, kernel: int = 3) -> Maps:
    """SAME padding of an odd kernel with stride 2, on even sides."""
    before = (kernel - 2) // 2
    return functional.pad(maps, (before, kernel - 2 - before, before, kernel - 2 - before))


def with_relu6(convolution: FusedConv2d) -> FusedConv2d:
    """The convolution, followed by ReLU6."""
    convolution.activation = "relu6"
    return convolution


class InvertedResidual(nn.Module):
    """Expand 1x1, depthwise, project 1x1; added to its input where the shape is kept (section 3.2)."""

    def __init__(self, channels: int, width: int, expansion: int, stride: int, kernel: int = 3) -> None:
        """From `channels` to `width`, inside `expansion` times as many; the kernel is the depthwise one's."""
        super().__init__()
        inner = channels * expansion
        if expansion > 1:
            self.expand = with_relu6(FusedConv2d(channels, inner, 1))
        # Stride 1 pads all sides alike, which the convolution does itself, faster than a padded copy.
        padding = kernel // 2 if stride == 1 else 0
        self.depthwise = with_relu6(
            FusedConv2d(inner, inner, kernel, stride=stride, padding=padding, groups=inner)
        )
        self.project = FusedConv2d(inner, width, 1)
        self.expansion, self.stride, self.kernel = expansion, stride, kernel
        self.keeps_shape = stride == 1 and channels == width

    def forward(self, maps: Maps) -> Maps:
        """(batch, channels, side, side) to (batch, width, ...), of half the side where the stride is 2."""
        inner = self.expand(maps) if self.expansion > 1 else maps
        inner = self.depthwise(padded_for_stride_2(inner, self.kernel) if self.stride == 2 else inner)
        projected: Tensor = self.project(inner, maps if self.keeps_shape else None)
        return projected


def taps_of(maps: Maps, blocks: nn.ModuleList) -> list[Maps]:
    """The maps before each further halving, from 1/4 of the image's side on, and the last ones.

    `maps` are the stem's, of half the side.
    """
    found, halvings = [], 1
    for block in blocks:
        if block.stride == 2:
            if halvings > 1:
                found.append(maps)
            halvings += 1
        maps = block(maps)
    return [*found, maps]


def tap_widths_of(blocks: nn.ModuleList) -> tuple[int, ...]:
    """The channels of `taps_of`."""
    widths, halvings, width = [], 1, 0
    for block in blocks:
        if block.stride == 2:
            if halvings > 1:
                widths.append(width)
            halvings += 1
        width = block.project.out_channels
    return (*widths, width)
