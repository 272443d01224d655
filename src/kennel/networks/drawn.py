"""Layers drawn from a given random generator, for networks that are reworked once they are there."""

import torch
from torch import nn


def drawn_linear(inputs: int, outputs: int, random: torch.Generator, *, bias: bool = True) -> nn.Linear:
    """A linear layer that begins as `nn.Linear` does, but drawn from `random`."""
    layer = nn.Linear(inputs, outputs, bias, device="meta").to_empty(device="cpu")
    for parameter in layer.parameters():
        nn.init.uniform_(parameter, -(inputs**-0.5), inputs**-0.5, generator=random)
    return layer
