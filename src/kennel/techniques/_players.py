"""Which of the two players a technique works on."""

from typing import Literal

from torch import nn

from kennel.techniques.base import Networks

Whose = Literal["discriminator", "generator", "both"]


def networks_of(networks: Networks, whose: Whose) -> dict[str, nn.Module]:
    """The networks that `whose` means, under their names."""
    named: dict[str, nn.Module] = {
        "discriminator": networks.discriminator,
        "generator": networks.generator,
    }
    return named if whose == "both" else {whose: named[whose]}
