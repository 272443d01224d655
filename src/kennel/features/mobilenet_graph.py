"""MobileNetV2 1.0 224 (Sandler et al., arXiv 1801.04381) with its batch norms folded into the weights."""

from jaxtyping import Float
from torch import Tensor, nn

from kennel.features.fused import FusedConv2d
from kennel.features.inverted_residual import (
    InvertedResidual,
    padded_for_stride_2,
    tap_widths_of,
    taps_of,
    with_relu6,
)
from kennel.shapes import Maps

CLASSES = 1001
DIMENSION = 1280
INPUT_SIDE = 224
# Table 2 of the paper: expansion, output channels, repeats, stride of the first repeat.
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class MobileNetGraph(nn.Module):
    """The network from scaled 224x224 pictures to mean-pooled features and logits."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = with_relu6(FusedConv2d(3, 32, 3, stride=2))
        self.blocks = nn.ModuleList()
        channels = 32
        for expansion, width, repeats, stride in STAGES:
            for repeat in range(repeats):
                step = stride if repeat == 0 else 1
                self.blocks.append(InvertedResidual(channels, width, expansion, step))
                channels = width
        self.head = with_relu6(FusedConv2d(channels, DIMENSION, 1))
        self.classifier = nn.Linear(DIMENSION, CLASSES)

    @property
    def tap_widths(self) -> tuple[int, ...]:
        """The channels of `taps`: 24, 32, 96 and 320."""
        return tap_widths_of(self.blocks)

    def taps(self, images: Maps) -> list[Maps]:
        """The last maps at 1/4, 1/8, 1/16 and 1/32 of the side, which is a multiple of 32."""
        return taps_of(self.stem(padded_for_stride_2(images)), self.blocks)

    def forward(self, images: Maps) -> tuple[Float[Tensor, "batch features"], Float[Tensor, "batch classes"]]:
        """Features (batch, 1280), the mean over the head's map after ReLU6, and logits (batch, 1001)."""
        maps = self.stem(padded_for_stride_2(images))
        for block in self.blocks:
            maps = block(maps)
        features = self.head(maps).mean((2, 3))
        return features, self.classifier(features)
