"""Linear layers initialized from a given random generator, for changes to existing networks."""

import torch
from torch import nn

from kennel.networks.layers.equalized import EqualizedLinear


def init_linear(inputs: int, outputs: int, random: torch.Generator, *, bias: bool = True) -> nn.Linear:
    """A linear layer with the default initialization of `nn.Linear`, drawn from `random`."""
    layer = nn.Linear(inputs, outputs, bias, device="meta").to_empty(device="cpu")
    for parameter in layer.parameters():
        nn.init.uniform_(parameter, -(inputs**-0.5), inputs**-0.5, generator=random)
    return layer


def widened(layer: nn.Linear, more: int, random: torch.Generator) -> nn.Linear:
    """A copy of the layer with `more` inputs at the end; their weights are drawn from `random`.

    With 0 as the new inputs it computes the same. The type of the layer is kept.
    """
    has_bias = layer.bias is not None
    wider = init_linear(layer.in_features + more, layer.out_features, random, bias=has_bias)
    if isinstance(layer, EqualizedLinear):
        wider = layer.like(wider)
    with torch.no_grad():
        wider.weight[:, : layer.in_features] = layer.weight
        if has_bias:
            wider.bias.copy_(layer.bias)
    return wider
