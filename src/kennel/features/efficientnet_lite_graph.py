"""EfficientNet-Lite0 and Lite1 with their batch norms folded into the weights.

Tan and Le 2019, arXiv 1905.11946, table 1, in the form that TensorFlow published for phones: no squeeze and
excitation, ReLU6 in place of swish, and stem, head, first and last stage of one size in all of the family.
"""

from collections.abc import Mapping
from math import ceil
from typing import Literal

import torch
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

Variant = Literal["lite0", "lite1"]
DEPTHS: dict[Variant, float] = {"lite0": 1.0, "lite1": 1.1}
"""By how much the number of blocks of a stage is multiplied, but in the first and the last stage."""
CLASSES = 1000
DIMENSION = 1280
EPSILON = 1e-3
"""Of the published batch norms."""
# Table 1 of the paper: expansion, output channels, blocks, stride of the first one, kernel.
STAGES = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)


class EfficientNetLiteGraph(nn.Module):
    """The network from scaled pictures to mean-pooled features and logits, or to its maps at four scales."""

    def __init__(self, variant: Variant) -> None:
        """Weights are as torch draws them until a state is loaded."""
        super().__init__()
        self.stem = with_relu6(FusedConv2d(3, 32, 3, stride=2))
        self.blocks = nn.ModuleList()
        channels = 32
        for index, (expansion, width, repeats, stride, kernel) in enumerate(STAGES):
            fixed = index in (0, len(STAGES) - 1)
            for repeat in range(repeats if fixed else ceil(repeats * DEPTHS[variant])):
                step = stride if repeat == 0 else 1
                self.blocks.append(InvertedResidual(channels, width, expansion, step, kernel))
                channels = width
        self.head = with_relu6(FusedConv2d(channels, DIMENSION, 1))
        self.classifier = nn.Linear(DIMENSION, CLASSES)

    @property
    def tap_widths(self) -> tuple[int, ...]:
        """The channels of `taps`: 24, 40, 112 and 320."""
        return tap_widths_of(self.blocks)

    def taps(self, images: Maps) -> list[Maps]:
        """The last maps at 1/4, 1/8, 1/16 and 1/32 of the side, which is a multiple of 32."""
        return taps_of(self.stem(padded_for_stride_2(images)), self.blocks)

    def forward(self, images: Maps) -> tuple[Float[Tensor, "batch features"], Float[Tensor, "batch classes"]]:
        """Features (batch, 1280), the mean over the head's map after ReLU6, and logits (batch, 1000)."""
        maps = self.stem(padded_for_stride_2(images))
        for block in self.blocks:
            maps = block(maps)
        features = self.head(maps).mean((2, 3))
        return features, self.classifier(features)


def folded(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state of an `EfficientNetLiteGraph` from the published one, its batch norms folded in float64."""
    state: dict[str, Tensor] = {}

    def fold(ours: str, convolution: str, norm: str) -> None:
        weight = published[f"{convolution}.weight"].double()
        mean, variance, gain, bias = (
            published[f"{norm}.{name}"].double() for name in ("running_mean", "running_var", "weight", "bias")
        )
        scale = gain / torch.sqrt(variance + EPSILON)
        state[f"{ours}.weight"] = (weight * scale[:, None, None, None]).float()
        state[f"{ours}.bias"] = (bias - mean * scale).float()

    fold("stem", "_conv_stem", "_bn0")
    blocks = sum(name.endswith("_project_conv.weight") for name in published)
    for index in range(blocks):
        theirs, ours = f"_blocks.{index}", f"blocks.{index}"
        if f"{theirs}._expand_conv.weight" in published:
            fold(f"{ours}.expand", f"{theirs}._expand_conv", f"{theirs}._bn0")
        fold(f"{ours}.depthwise", f"{theirs}._depthwise_conv", f"{theirs}._bn1")
        fold(f"{ours}.project", f"{theirs}._project_conv", f"{theirs}._bn2")
    fold("head", "_conv_head", "_bn1")
    state["classifier.weight"], state["classifier.bias"] = published["_fc.weight"], published["_fc.bias"]
    return state
