"""Networks of inverted residuals with folded batch norms: MobileNetV2 and EfficientNet-Lite.

They give pooled features and logits for evaluation, and maps at four resolutions for a discriminator with a
frozen network, differentiable with respect to the images.
"""

from typing import ClassVar, TypeAlias

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from kennel.features.fused_conv import FusedConv2d
from kennel.shapes import Maps

Stage: TypeAlias = tuple[int, int, int, int, int]
"""Kernel size, expansion, output channels, number of blocks, stride of the first block."""
STEM_WIDTH = 32
DIMENSION = 1280
TAP_STRIDES = (4, 8, 16, 32)


def _with_relu6(convolution: FusedConv2d) -> FusedConv2d:
    convolution.activation = "relu6"
    return convolution


def padded_for_stride_2(maps: Maps, kernel: int) -> Maps:
    """TensorFlow's SAME padding before a convolution with stride 2: the extra row goes right and bottom. A
    3x3 kernel gets (0, 1) on even sizes and (1, 1) on odd ones, a 5x5 kernel (1, 2) and (2, 2)."""
    height, width = (kernel - 2 + size % 2 for size in maps.shape[-2:])
    return functional.pad(maps, (width // 2, width - width // 2, height // 2, height - height // 2))


class PaddingForStride2(nn.Module):
    """`padded_for_stride_2` as a layer."""

    def __init__(self, kernel: int) -> None:
        super().__init__()
        self.kernel = kernel

    def forward(self, maps: Maps) -> Maps:
        return padded_for_stride_2(maps, self.kernel)


class InvertedResidual(nn.Module):
    """Expand 1x1, depthwise, project 1x1, plus the input if the shape is kept. Sandler et al., arXiv
    1801.04381, section 3.2; ReLU6 after the first two, none after the last."""

    def __init__(self, channels: int, width: int, *, kernel: int, expansion: int, stride: int) -> None:
        super().__init__()
        inner = channels * expansion
        if expansion > 1:
            self.expand = _with_relu6(FusedConv2d(channels, inner, 1))
        # Stride 1 pads all sides alike, which the convolution does itself, faster than a padded copy.
        padding = kernel // 2 if stride == 1 else 0
        self.pad = PaddingForStride2(kernel) if stride == 2 else nn.Identity()
        self.depthwise = _with_relu6(
            FusedConv2d(inner, inner, kernel, stride=stride, padding=padding, groups=inner)
        )
        self.project = FusedConv2d(inner, width, 1)
        self.expansion = expansion
        self.keeps_shape = stride == 1 and channels == width

    def forward(self, maps: Maps) -> Maps:
        inner = self.expand(maps) if self.expansion > 1 else maps
        inner = self.depthwise(self.pad(inner))
        projected: Tensor = self.project(inner, maps if self.keeps_shape else None)
        return projected


class InvertedResidualNetwork(nn.Module):
    """A stem, stages of inverted residuals, a head of 1280 channels and a classifier. Class attributes:
    `middle` and `scale`; the input is (x - middle) / scale for x in 0..255. Attribute `tap_widths`: the
    channels of the four maps of `taps`."""

    middle: ClassVar[float]
    scale: ClassVar[float]

    def __init__(self, stages: tuple[Stage, ...], classes: int) -> None:
        super().__init__()
        self.stem = _with_relu6(FusedConv2d(3, STEM_WIDTH, 3, stride=2))
        self.blocks = nn.ModuleList()
        channels, reached = STEM_WIDTH, 2
        widths, strides = [], []
        for kernel, expansion, width, repeats, stride in stages:
            for repeat in range(repeats):
                step = stride if repeat == 0 else 1
                self.blocks.append(
                    InvertedResidual(channels, width, kernel=kernel, expansion=expansion, stride=step)
                )
                channels, reached = width, reached * step
                widths.append(width)
                strides.append(reached)
        self.head = _with_relu6(FusedConv2d(channels, DIMENSION, 1))
        self.classifier = nn.Linear(DIMENSION, classes)
        # The last block of each resolution.
        self._tapped = [len(strides) - 1 - strides[::-1].index(stride) for stride in TAP_STRIDES]
        self.tap_widths: tuple[int, ...] = tuple(widths[place] for place in self._tapped)

    @classmethod
    def input_scale(cls) -> tuple[float, float]:
        """Factor and offset that map images in [-1, 1] to the network's input."""
        return 127.5 / cls.scale, (127.5 - cls.middle) / cls.scale

    def forward(self, images: Maps) -> tuple[Float[Tensor, "batch features"], Float[Tensor, "batch classes"]]:
        """Features (batch, 1280), the mean of the head's map after ReLU6, and logits (batch, classes)."""
        maps = self._stemmed(images)
        for block in self.blocks:
            maps = block(maps)
        features = self.head(maps).mean((2, 3))
        return features, self.classifier(features)

    def taps(self, images: Maps) -> list[Maps]:
        """The maps of the last block at 1/4, 1/8, 1/16 and 1/32 of the side, with `tap_widths` channels.

        `images` are as for `forward`, with a side that is a multiple of 32. Gradients reach the images.
        """
        maps, tapped = self._stemmed(images), []
        for place, block in enumerate(self.blocks):
            maps = block(maps)
            if place in self._tapped:
                tapped.append(maps)
        return tapped

    def _stemmed(self, images: Maps) -> Maps:
        maps: Tensor = self.stem(padded_for_stride_2(images, 3))
        return maps
