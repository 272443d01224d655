"""Which of the two players a technique works on."""

from typing import Literal

from torch import nn

from kennel.techniques.base import Networks

Whose = Literal["discriminator", "generator", "both"]


def networks_of(players: Networks, whose: Whose) -> dict[str, nn.Module]:
    """The networks that `whose` means, under their names."""
    networks: dict[str, nn.Module] = {
        "discriminator": players.discriminator,
        "generator": players.generator,
    }
    return networks if whose == "both" else {whose: networks[whose]}
