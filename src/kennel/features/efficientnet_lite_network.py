"""EfficientNet-Lite0 and -Lite1 with batch norms folded into the weights.

The stages of EfficientNet-B0 (Tan and Le 2019, arXiv 1905.11946, table 1) with the changes of the Lite
variants: no squeeze-and-excitation, ReLU6 instead of swish; the stem, the first and the last stage keep B0's
width and depth while the others are scaled.
"""

import math
from typing import ClassVar, Literal, TypeAlias

import torch
from torch import Tensor

from kennel.features.inverted_residuals import InvertedResidualNetwork, Stage

Variant: TypeAlias = Literal["lite0", "lite1"]
CLASSES = 1000
INPUT_SIDES: dict[Variant, int] = {"lite0": 224, "lite1": 240}
# Both variants have the width of B0; the second has more blocks.
DEPTH_MULTIPLIERS: dict[Variant, float] = {"lite0": 1.0, "lite1": 1.1}
STAGES: tuple[Stage, ...] = (
    (3, 1, 16, 1, 1),
    (3, 6, 24, 2, 2),
    (5, 6, 40, 2, 2),
    (3, 6, 80, 3, 2),
    (5, 6, 112, 3, 1),
    (5, 6, 192, 4, 2),
    (3, 6, 320, 1, 1),
)
EPSILON = 1e-3


def stages_of(variant: Variant) -> tuple[Stage, ...]:
    """The stages of a variant: numbers of blocks times the depth multiplier, rounded up."""
    multiplier = DEPTH_MULTIPLIERS[variant]
    scaled = [
        (kernel, expansion, width, math.ceil(multiplier * repeats), stride)
        for kernel, expansion, width, repeats, stride in STAGES[1:-1]
    ]
    return (STAGES[0], *scaled, STAGES[-1])


class EfficientNetLiteGraph(InvertedResidualNetwork):
    """The network from scaled images to mean-pooled features (1280) and logits (1000). The input side is 224
    for `lite0` and 240 for `lite1`; any multiple of 32 works."""

    middle: ClassVar[float] = 127.0
    scale: ClassVar[float] = 128.0

    def __init__(self, variant: Variant) -> None:
        super().__init__(stages_of(variant), CLASSES)
        self.variant = variant


def folded_state(published: dict[str, Tensor], variant: Variant) -> dict[str, Tensor]:
    """The state of `EfficientNetLiteGraph(variant)` from a published state, batch norms folded in float64.
    The published names are those of the EfficientNet-PyTorch network. Raises `KeyError` for a missing one."""
    state: dict[str, Tensor] = {}

    def fold(name: str, convolution: str, norm: str) -> None:
        gain, shift, mean, variance = (
            published[f"{norm}.{part}"].double() for part in ("weight", "bias", "running_mean", "running_var")
        )
        factor = gain / torch.sqrt(variance + EPSILON)
        weight = published[f"{convolution}.weight"].double() * factor[:, None, None, None]
        state[f"{name}.weight"], state[f"{name}.bias"] = weight.float(), (shift - mean * factor).float()

    fold("stem", "_conv_stem", "_bn0")
    expansions = [expansion for _, expansion, _, repeats, _ in stages_of(variant) for _ in range(repeats)]
    for place, expansion in enumerate(expansions):
        ours, theirs = f"blocks.{place}", f"_blocks.{place}"
        if expansion > 1:
            fold(f"{ours}.expand", f"{theirs}._expand_conv", f"{theirs}._bn0")
        fold(f"{ours}.depthwise", f"{theirs}._depthwise_conv", f"{theirs}._bn1")
        fold(f"{ours}.project", f"{theirs}._project_conv", f"{theirs}._bn2")
    fold("head", "_conv_head", "_bn1")
    state["classifier.weight"], state["classifier.bias"] = published["_fc.weight"], published["_fc.bias"]
    return state
