"""Weight clipping of the discriminator."""

from typing import ClassVar

import torch
from pydantic import PositiveFloat, PrivateAttr
from torch import Tensor

from kennel.techniques.base import TECHNIQUES, ForwardOutput, Networks, Stage, Technique


@TECHNIQUES.register("weight_clipping")
class WeightClipping(Technique):
    """Clamps every parameter of the discriminator to [-limit, limit] (WGAN: Arjovsky et al. 2017, arXiv
    1701.07875, algorithm 1), including batch norm's gains, as in the released code, but not the parameters of
    batch statistics (minibatch discrimination).

    At the start, and after each of its updates.
    """

    stage: ClassVar[Stage] = "reparametrise"

    limit: PositiveFloat = 0.01

    _clipped: list[Tensor] = PrivateAttr(default_factory=list)

    def modify_networks(self, networks: Networks, random: torch.Generator) -> None:
        self._clamp(networks)

    def weights_replaced(self, networks: Networks) -> None:
        self._clamp(networks)

    def after_discriminator(self, output: ForwardOutput) -> None:
        self._clamp(output.networks)

    @torch.no_grad()
    def _clamp(self, networks: Networks) -> None:
        statistics = set(networks.discriminator.statistics.parameters())  # they have scales of their own
        self._clipped = [one for one in networks.discriminator.parameters() if one not in statistics]
        torch._foreach_clamp_min_(self._clipped, -self.limit)
        torch._foreach_clamp_max_(self._clipped, self.limit)

    @torch.no_grad()
    def statistics(self) -> dict[str, Tensor]:
        """The share of the discriminator's parameters at the limit."""
        at_limit = torch.stack([(one.abs() >= self.limit).sum() for one in self._clipped]).sum()
        return {"at_limit": at_limit / sum(one.numel() for one in self._clipped)}
