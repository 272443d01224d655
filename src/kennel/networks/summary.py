"""How large a network is."""

import torch
from torch import nn

from kennel.networks.base import Network, NetworkSpec


def parameter_count(network: nn.Module) -> int:
    """All numbers that training moves."""
    return sum(parameter.numel() for parameter in network.parameters())


def parameters_at(kind: type[Network], spec: NetworkSpec, **options: object) -> int:
    """The parameters of a registered network at `setting`; nothing is allocated for them."""
    with torch.device("meta"):
        return parameter_count(kind(spec, kind.Options(**options)))
