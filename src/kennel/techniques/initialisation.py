"""How weights begin."""

from typing import ClassVar

import torch
from pydantic import PositiveFloat
from torch import nn

from kennel.techniques.contract import TECHNIQUES, Players, Stage, Technique

WEIGHTED = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)
NORMALISED = (nn.BatchNorm1d, nn.BatchNorm2d)


@TECHNIQUES.register("normal_init")
class NormalInit(Technique):
    """Weights from N(0, 0.02), batch norm's gain from N(1, 0.02), biases 0 (DCGAN, section 4).

    Embeddings of labels keep the draw of their network.
    """

    stage: ClassVar[Stage] = "initialise"

    standard_deviation: PositiveFloat = 0.02

    def build(self, players: Players, random: torch.Generator) -> None:
        """Draws the weights of both networks' layers anew from `random`."""
        for network in players.both():
            for layer in network.modules():
                if isinstance(layer, WEIGHTED + NORMALISED) and layer.weight is not None:
                    mean = 1.0 if isinstance(layer, NORMALISED) else 0.0
                    nn.init.normal_(layer.weight, mean, self.standard_deviation, generator=random)
                    if layer.bias is not None:
                        nn.init.zeros_(layer.bias)
