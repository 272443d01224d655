"""The `networks` option: which of the two networks a technique applies to."""

from typing import Literal

from torch import nn

from kennel.techniques.base import Networks

NetworkChoice = Literal["discriminator", "generator", "both"]


def chosen_networks(networks: Networks, choice: NetworkChoice) -> dict[str, nn.Module]:
    """The chosen networks by name."""
    named: dict[str, nn.Module] = {
        "discriminator": networks.discriminator,
        "generator": networks.generator,
    }
    return named if choice == "both" else {choice: named[choice]}
