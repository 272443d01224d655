"""How large a network is."""

from torch import nn


def parameter_count(network: nn.Module) -> int:
    """The number of trained values of a network; works on the meta device too, where nothing is allocated."""
    return sum(parameter.numel() for parameter in network.parameters())
