"""The largest singular value of every weight matrix, limited by a clamp or by a penalty.

Brock et al. 2019 (arXiv 1809.11096): before a BigGAN collapses, the largest singular values of its
generator's weights explode. They limit it to a fixed value or to a multiple of the second, and find that this
controls the spectra but does not prevent the collapse.
"""

from collections.abc import Iterator
from typing import ClassVar, Literal

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt, PrivateAttr
from torch import Tensor

from kennel.shapes import Scalar
from kennel.techniques._networks import NetworkChoice, chosen_networks
from kennel.techniques._power_iteration import SingularTriplets, SpectrumTracker
from kennel.techniques._weight_matrices import WeightMatrix, from_matrix, weight_matrices
from kennel.techniques.base import TECHNIQUES, ForwardOutput, LossTerm, Networks, Stage, Technique


class FirstSingularValues(Technique):
    """Tracks the two largest singular values s0 >= s1 of weight matrices, and gives the limit of s0.

    The limit is `target`, or else `ratio` times s1; a matrix of one row or one column has no s1 and is then
    skipped. `iterations` of block power iteration per update.
    """

    stage: ClassVar[Stage] = "copy"  # the last stage: the matrices are final, and on their device

    networks: NetworkChoice = "generator"
    target: PositiveFloat | None = None
    ratio: PositiveFloat = 1.0
    iterations: PositiveInt = 1

    _tracker: SpectrumTracker | None = PrivateAttr(None)

    def modify_networks(self, networks: Networks, random: torch.Generator) -> None:
        matrices = {
            name: one.matrix().detach()
            for network in chosen_networks(networks, self.networks)
            for name, one in self._matrices(networks, network).items()
        }
        self._tracker = SpectrumTracker(matrices, 2, random)

    def _matrices(self, networks: Networks, name: str) -> dict[str, WeightMatrix]:
        network = chosen_networks(networks, self.networks).get(name)
        if network is None:
            return {}
        found = weight_matrices(network, embeddings=name == "discriminator")
        return {
            f"{name}.{layer}": one
            for layer, one in found.items()
            if self.target is not None or min(one.matrix().shape) > 1
        }

    def _spectra(
        self, networks: Networks, name: str
    ) -> Iterator[tuple[WeightMatrix, SingularTriplets, Tensor]]:
        """Each matrix of the network `name`, its two largest singular values, and the limit."""
        for key, one in self._matrices(networks, name).items():
            leading = self._spectrum.update(key, one.matrix().detach(), self.iterations)
            values = leading.values
            fixed = None if self.target is None else values.new_tensor(self.target)
            yield one, leading, self.ratio * values[1] if fixed is None else fixed

    @property
    def _spectrum(self) -> SpectrumTracker:
        assert self._tracker is not None
        return self._tracker

    def state_dict(self) -> dict[str, Tensor]:
        return self._spectrum.state_dict()

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self._spectrum.load_state_dict(state)


@TECHNIQUES.register("singular_value_clamp")
class SingularValueClamp(FirstSingularValues):
    """After each update of the network, replaces W by W - max(0, s0 - limit) u0 v0^T.

    The limit is `target`, or `ratio` times the second singular value.
    """

    ratio: PositiveFloat = 2.0

    _log: dict[str, Tensor] = PrivateAttr(default_factory=dict)

    def after_discriminator(self, output: ForwardOutput) -> None:
        self._clamp(output.networks, "discriminator")

    def after_generator(self, output: ForwardOutput) -> None:
        self._clamp(output.networks, "generator")

    @torch.no_grad()
    def _clamp(self, networks: Networks, name: str) -> None:
        firsts, excesses = [], []
        for one, (values, left, right), limit in self._spectra(networks, name):
            excess = torch.relu(values[0] - limit)
            surplus = torch.outer(excess * left[:, 0], right[:, 0])
            one.parameter.sub_(from_matrix(surplus, one.parameter, one.axis))
            firsts.append(values[0])
            excesses.append(excess)
        if firsts:
            self._log[f"{name}_largest"] = torch.stack(firsts).max()
            self._log[f"{name}_clamped"] = (torch.stack(excesses) > 0).float().mean()

    def statistics(self) -> dict[str, Tensor]:
        """The largest singular value before the clamp, and the share of clamped matrices."""
        return dict(self._log)


@TECHNIQUES.register("singular_value_penalty")
class SingularValuePenalty(FirstSingularValues, LossTerm):
    """The sum over matrices of (s0 - limit)^2; the limit is `target`, or `ratio` times s1, detached.

    `form` "towards" is the paper's, which also increases s0; "excess" penalizes values above the limit only.
    """

    weight: NonNegativeFloat = 1e-4

    form: Literal["towards", "excess"] = "towards"

    def discriminator_term(self, output: ForwardOutput) -> Scalar | None:
        return self._term(output.networks, "discriminator")

    def generator_term(self, output: ForwardOutput) -> Scalar | None:
        return self._term(output.networks, "generator")

    def _term(self, networks: Networks, name: str) -> Scalar | None:
        distances = []
        for one, leading, limit in self._spectra(networks, name):
            # The derivative of a singular value is u0 v0^T: the vectors act as constants.
            first = leading.left[:, 0] @ one.matrix() @ leading.right[:, 0]
            distances.append(first - limit if self.form == "towards" else torch.relu(first - limit))
        return torch.stack(distances).square().sum() if distances else None
