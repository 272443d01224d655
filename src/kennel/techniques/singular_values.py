"""The first singular value of every weight matrix, held back by force or by a penalty.

Brock et al. 2019 (arXiv 1809.11096): before a BigGAN collapses, the first singular value of
its generator's weights explodes. They hold it near a fixed value or near a multiple of the second, and find
that it tames the spectra and does not prevent the collapse.
"""

from collections.abc import Iterator
from typing import ClassVar, Literal

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt, PrivateAttr
from torch import Tensor

from kennel.shapes import Scalar
from kennel.techniques._players import Whose, networks_of
from kennel.techniques._power_iteration import Followed, Leading
from kennel.techniques._weight_matrices import WeightMatrix, from_matrix, weight_matrices
from kennel.techniques.base import TECHNIQUES, ForwardOutput, LossTerm, Networks, Stage, Technique


class FirstSingularValues(Technique):
    """Follows the first two singular values s0 >= s1 of weight matrices, and says where s0 should be.

    That is `target`, the same for all, or, without one, `ratio` times s1. A matrix of one row or one column
    has no s1 and is left alone in the second case. `iterations` of block power iteration are made at a time.
    """

    stage: ClassVar[Stage] = "copy"  # the last: all matrices are there, on their device

    networks: Whose = "generator"
    target: PositiveFloat | None = None
    ratio: PositiveFloat = 1.0
    iterations: PositiveInt = 1

    _followed: Followed | None = PrivateAttr(None)

    def modify_networks(self, networks: Networks, random: torch.Generator) -> None:
        """Finds the singular vectors of every matrix."""
        self._followed = Followed(
            {
                name: one.matrix().detach()
                for player in networks_of(networks, self.networks)
                for name, one in self._matrices(networks, player).items()
            },
            2,
            random,
        )

    def _matrices(self, networks: Networks, player: str) -> dict[str, WeightMatrix]:
        network = networks_of(networks, self.networks).get(player)
        if network is None:
            return {}
        found = weight_matrices(network, embeddings=player == "discriminator")
        return {
            f"{player}.{name}": one
            for name, one in found.items()
            if self.target is not None or min(one.matrix().shape) > 1
        }

    def _spectra(self, networks: Networks, player: str) -> Iterator[tuple[WeightMatrix, Leading, Tensor]]:
        """Each matrix of this player's, its two leading values, and what the first should be."""
        for name, one in self._matrices(networks, player).items():
            leading = self._spectrum.follow(name, one.matrix().detach(), self.iterations)
            values = leading.values
            fixed = None if self.target is None else values.new_tensor(self.target)
            yield one, leading, self.ratio * values[1] if fixed is None else fixed

    @property
    def _spectrum(self) -> Followed:
        assert self._followed is not None, "build comes before any turn"
        return self._followed

    def state_dict(self) -> dict[str, Tensor]:
        """The left singular vectors of every matrix."""
        return self._spectrum.state_dict()

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Takes the vectors back."""
        self._spectrum.load_state_dict(state)


@TECHNIQUES.register("singular_value_clamp")
class SingularValueClamp(FirstSingularValues):
    """After each of the player's updates, W - max(0, s0 - limit) u0 v0^T takes the place of W.

    The limit is `target`, or `ratio` times the second singular value.
    """

    ratio: PositiveFloat = 2.0

    _largest: dict[str, Tensor] = PrivateAttr(default_factory=dict)

    def after_discriminator(self, output: ForwardOutput) -> None:
        """Clamps the discriminator's matrices, where they are asked for."""
        self._clamp(output.networks, "discriminator")

    def after_generator(self, output: ForwardOutput) -> None:
        """Clamps the generator's matrices, where they are asked for."""
        self._clamp(output.networks, "generator")

    @torch.no_grad()
    def _clamp(self, networks: Networks, player: str) -> None:
        firsts, excesses = [], []
        for one, (values, left, right), limit in self._spectra(networks, player):
            excess = torch.relu(values[0] - limit)
            surplus = torch.outer(excess * left[:, 0], right[:, 0])
            one.parameter.sub_(from_matrix(surplus, one.parameter, one.axis))
            firsts.append(values[0])
            excesses.append(excess)
        if firsts:
            self._largest[f"{player}_largest"] = torch.stack(firsts).max()
            self._largest[f"{player}_clamped"] = (torch.stack(excesses) > 0).float().mean()

    def statistics(self) -> dict[str, Tensor]:
        """The largest first singular value before the clamp, and the share of matrices that it touched."""
        return dict(self._largest)


@TECHNIQUES.register("singular_value_penalty")
class SingularValuePenalty(FirstSingularValues, LossTerm):
    """The sum over matrices of (s0 - aim)^2; the aim is `target`, or `ratio` times s1, which is detached.

    `form` "towards" is the paper's: it pulls s0 up as well. "excess" counts only what is above the aim.
    """

    weight: NonNegativeFloat = 1e-4

    form: Literal["towards", "excess"] = "towards"

    def discriminator_term(self, output: ForwardOutput) -> Scalar | None:
        """The sum over the discriminator's matrices, where they are asked for."""
        return self._term(output.networks, "discriminator")

    def generator_term(self, output: ForwardOutput) -> Scalar | None:
        """The sum over the generator's matrices, where they are asked for."""
        return self._term(output.networks, "generator")

    def _term(self, networks: Networks, player: str) -> Scalar | None:
        distances = []
        for one, leading, aim in self._spectra(networks, player):
            # The derivative of a singular value is u0 v0^T, as if the vectors were constant.
            first = leading.left[:, 0] @ one.matrix() @ leading.right[:, 0]
            distances.append(first - aim if self.form == "towards" else torch.relu(first - aim))
        return torch.stack(distances).square().sum() if distances else None
