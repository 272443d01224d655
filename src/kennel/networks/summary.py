"""The number of parameters of a network."""

import torch
from torch import nn

from kennel.networks.base import Network, NetworkSpec


def parameter_count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def parameters_at(kind: type[Network], spec: NetworkSpec, **options: object) -> int:
    """The number of parameters of a registered network for `spec`; allocates no memory for them."""
    with torch.device("meta"):
        return parameter_count(kind(spec, kind.Options(**options)))
