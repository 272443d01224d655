"""Players that are held near where they have been."""

from typing import ClassVar

import torch
from pydantic import Field, PositiveFloat, PrivateAttr
from torch import Tensor, nn

from kennel.shapes import Scalar
from kennel.techniques._players import Whose, networks_of
from kennel.techniques.base import TECHNIQUES, ForwardOutput, LossTerm, Networks, Stage, Technique


class Past:
    """The mean of a network's parameters after each of its turns so far.

    It begins with the first turn: some layers set themselves by the first batch, and what they were before
    is no past to be held to.
    """

    def __init__(self, network: nn.Module) -> None:
        """Nothing has been yet."""
        self.turns = 0
        self.means = {name: one.detach().clone() for name, one in network.named_parameters()}

    @torch.no_grad()
    def add(self, network: nn.Module) -> None:
        """Counts the parameters of one turn more."""
        self.turns += 1
        current = dict(network.named_parameters())
        torch._foreach_lerp_(
            list(self.means.values()), [current[name] for name in self.means], 1 / self.turns
        )

    def squared_distance(self, network: nn.Module) -> Scalar | None:
        """|theta - mean|^2 over all parameters, differentiable in theta; None before the first turn."""
        if self.turns == 0:
            return None
        current = dict(network.named_parameters())
        distances = [(current[name] - mean).square().sum() for name, mean in self.means.items()]
        return torch.stack(distances).sum()

    def state_dict(self) -> dict[str, Tensor]:
        """The means by the parameters' names, and the number of turns."""
        return {"turns": torch.tensor(self.turns), **{f"mean.{name}": v for name, v in self.means.items()}}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Takes them back."""
        self.turns = int(state["turns"])
        for name, mean in self.means.items():
            mean.copy_(state[f"mean.{name}"])


@TECHNIQUES.register("historical_averaging")
class HistoricalAveraging(LossTerm):
    """|theta - (1/t) sum_i theta[i]|^2 in each player's loss (Salimans et al. 2016, arXiv 1606.03498,
    section 3.3): its squared distance from the mean of its own past, theta[i] after its i-th turn.
    """

    stage: ClassVar[Stage] = "copy"

    networks: Whose = "both"

    _past: dict[str, Past] = PrivateAttr(default_factory=dict)

    def modify_networks(self, networks: Networks, random: torch.Generator) -> None:
        """The past is empty."""
        chosen = networks_of(networks, self.networks)
        self._past = {player: Past(network) for player, network in chosen.items()}

    def discriminator_term(self, output: ForwardOutput) -> Scalar | None:
        """The discriminator's distance from its past, where it is asked for."""
        past = self._past.get("discriminator")
        return past.squared_distance(output.networks.discriminator) if past else None

    def generator_term(self, output: ForwardOutput) -> Scalar | None:
        """The generator's distance from its past, where it is asked for."""
        past = self._past.get("generator")
        return past.squared_distance(output.networks.generator) if past else None

    def after_discriminator(self, output: ForwardOutput) -> None:
        """The discriminator's new weights become part of its past."""
        if past := self._past.get("discriminator"):
            past.add(output.networks.discriminator)

    def after_generator(self, output: ForwardOutput) -> None:
        """The generator's new weights become part of its past."""
        if past := self._past.get("generator"):
            past.add(output.networks.generator)

    def state_dict(self) -> dict[str, Tensor]:
        """The means and the numbers of turns."""
        return {
            f"{player}.{name}": value
            for player, past in self._past.items()
            for name, value in past.state_dict().items()
        }

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Takes them back."""
        for player, past in self._past.items():
            start = f"{player}."
            past.load_state_dict(
                {name.removeprefix(start): v for name, v in state.items() if name.startswith(start)}
            )


@TECHNIQUES.register("parameter_averaging")
class ParameterAveraging(Technique):
    """The generator's parameters are slowly moved towards an average of themselves (Bek and Aljanabi,
    "Improved Techniques for Training GANs Implementation").

    The average is exponential, with a half-life in images that is at most `ramp_up` of the images seen, as
    in `ema`. After each turn the parameters go towards it: `pull` is the share of the way in 1000 images. The
    report gives neither number.
    """

    stage: ClassVar[Stage] = "copy"

    half_life_images: PositiveFloat = 10_000
    ramp_up: float = Field(0.05, gt=0)
    pull: float = Field(0.05, gt=0, lt=1)

    _average: dict[str, Tensor] = PrivateAttr(default_factory=dict)

    def modify_networks(self, networks: Networks, random: torch.Generator) -> None:
        """The average begins with the initial weights."""
        named = networks.generator.named_parameters()
        self._average = {name: parameter.detach().clone() for name, parameter in named}

    @torch.no_grad()
    def after_generator(self, output: ForwardOutput) -> None:
        """First the average moves towards the parameters, then they towards it."""
        images, seen = output.context.images_in_step, output.context.images_seen
        keep = 0.5 ** (images / min(self.half_life_images, seen * self.ramp_up))
        current = dict(output.networks.generator.named_parameters())
        averages = list(self._average.values())
        parameters: list[Tensor] = [current[name] for name in self._average]
        torch._foreach_lerp_(averages, parameters, 1 - keep)
        torch._foreach_lerp_(parameters, averages, 1 - (1 - self.pull) ** (images / 1000))

    def state_dict(self) -> dict[str, Tensor]:
        """The average, by the parameters' names."""
        return dict(self._average)

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Takes the average back."""
        for name, value in self._average.items():
            value.copy_(state[name])
