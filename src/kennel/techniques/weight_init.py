"""Initialization of weights."""

from typing import ClassVar, cast

import torch
from pydantic import PositiveFloat
from torch import nn

from kennel.networks.class_bias import ClassBias
from kennel.networks.layers.normalization import ConditionalBatchNorm
from kennel.networks.residual import Residual
from kennel.techniques._weight_matrices import LAYERS
from kennel.techniques.base import TECHNIQUES, Networks, Stage, Technique

WEIGHTED = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d, ClassBias)
NORMALIZATION = (nn.BatchNorm1d, nn.BatchNorm2d)


@TECHNIQUES.register("normal_init")
class NormalInit(Technique):
    """Weights from N(0, 0.02), batch norm's gain from N(1, 0.02), biases 0 (DCGAN, section 4).

    This includes the class columns of a layer (`ClassBias`). Other embeddings keep their initialization.
    """

    stage: ClassVar[Stage] = "initialise"

    standard_deviation: PositiveFloat = 0.02

    def modify_networks(self, networks: Networks, random: torch.Generator) -> None:
        for network in networks.both():
            for layer in network.modules():
                if isinstance(layer, WEIGHTED + NORMALIZATION) and layer.weight is not None:
                    mean = 1.0 if isinstance(layer, NORMALIZATION) else 0.0
                    nn.init.normal_(layer.weight, mean, self.standard_deviation, generator=random)
                    if getattr(layer, "bias", None) is not None:
                        nn.init.zeros_(layer.bias)  # type: ignore[arg-type]


@TECHNIQUES.register("xavier_init")
class XavierInit(Technique):
    """Uniform weights with variance gain^2 * 2 / (fan-in + fan-out), biases 0.

    Glorot and Bengio 2010, "Understanding the difficulty of training deep feedforward neural networks",
    eq. 16: U(-a, a) with a = gain * sqrt(6 / (fan-in + fan-out)). Convolutions in the branch of a residual
    block have `residual_gain`: sqrt(2) in the released code of SNGAN (Miyato et al. 2018, arXiv 1802.05957),
    1 in that of SAGAN (Zhang et al. 2018, arXiv 1805.08318). All others have `gain`: shortcuts, first and
    last layers, attention, and embeddings, in which a class counts as an input. Batch norm is unchanged,
    including its tables of classes.
    """

    stage: ClassVar[Stage] = "initialise"

    gain: PositiveFloat = 1.0
    residual_gain: PositiveFloat = 2**0.5

    @torch.no_grad()
    def modify_networks(self, networks: Networks, random: torch.Generator) -> None:
        for network in networks.both():
            modules = list(network.modules())
            residual = {part for one in modules if isinstance(one, Residual) for part in one.branch()}
            tables = {
                part
                for one in modules
                if isinstance(one, ConditionalBatchNorm)
                for part in one.modules()
                if isinstance(part, nn.Embedding)
            }
            for layer in modules:
                if isinstance(layer, LAYERS) and layer not in tables:
                    bound = (self.residual_gain if layer in residual else self.gain) * xavier_bound(layer)
                    layer.weight.uniform_(-bound, bound, generator=random)
                    if getattr(layer, "bias", None) is not None:
                        nn.init.zeros_(layer.bias)  # type: ignore[arg-type]


def xavier_bound(layer: nn.Module) -> float:
    """sqrt(6 / (fan-in + fan-out)) of a layer with a weight; fans include the positions of a kernel."""
    weight = layer.weight
    assert isinstance(weight, torch.Tensor)
    groups: int = getattr(layer, "groups", 1)
    positions = weight[0, 0].numel()
    # Transposed convolutions have the axes in the other order, which does not affect the sum.
    first, second = weight.shape[0] // groups, weight.shape[1]
    return cast(float, (6 / ((first + second) * positions)) ** 0.5)
