"""Penalties and pulls towards an average of past parameters."""

from typing import ClassVar

import torch
from pydantic import Field, PositiveFloat, PrivateAttr
from torch import Tensor, nn

from kennel.shapes import Scalar
from kennel.techniques._networks import NetworkChoice, chosen_networks
from kennel.techniques.base import TECHNIQUES, ForwardOutput, LossTerm, Networks, Stage, Technique


class ParameterHistory:
    """The mean of a network's parameters after each of its steps.

    The initial parameters do not count: some layers initialize themselves from the first batch.
    """

    def __init__(self, network: nn.Module) -> None:
        self.steps = 0
        self.means = {name: one.detach().clone() for name, one in network.named_parameters()}

    @torch.no_grad()
    def add(self, network: nn.Module) -> None:
        self.steps += 1
        current = dict(network.named_parameters())
        torch._foreach_lerp_(
            list(self.means.values()), [current[name] for name in self.means], 1 / self.steps
        )

    def squared_distance(self, network: nn.Module) -> Scalar | None:
        """|theta - mean|^2 over all parameters, differentiable by theta; None before the first step."""
        if self.steps == 0:
            return None
        current = dict(network.named_parameters())
        distances = [(current[name] - mean).square().sum() for name, mean in self.means.items()]
        return torch.stack(distances).sum()

    def state_dict(self) -> dict[str, Tensor]:
        return {"turns": torch.tensor(self.steps), **{f"mean.{name}": v for name, v in self.means.items()}}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.steps = int(state["turns"])
        for name, mean in self.means.items():
            mean.copy_(state[f"mean.{name}"])


@TECHNIQUES.register("historical_averaging")
class HistoricalAveraging(LossTerm):
    """|theta - (1/t) sum_i theta[i]|^2 in each network's loss (Salimans et al. 2016, arXiv 1606.03498,
    section 3.3): its squared distance from the mean of its past, theta[i] after its i-th step.
    """

    stage: ClassVar[Stage] = "copy"

    networks: NetworkChoice = "both"

    _histories: dict[str, ParameterHistory] = PrivateAttr(default_factory=dict)

    def modify_networks(self, networks: Networks, random: torch.Generator) -> None:
        chosen = chosen_networks(networks, self.networks)
        self._histories = {name: ParameterHistory(network) for name, network in chosen.items()}

    def discriminator_term(self, output: ForwardOutput) -> Scalar | None:
        history = self._histories.get("discriminator")
        return history.squared_distance(output.networks.discriminator) if history else None

    def generator_term(self, output: ForwardOutput) -> Scalar | None:
        history = self._histories.get("generator")
        return history.squared_distance(output.networks.generator) if history else None

    def after_discriminator(self, output: ForwardOutput) -> None:
        if history := self._histories.get("discriminator"):
            history.add(output.networks.discriminator)

    def after_generator(self, output: ForwardOutput) -> None:
        if history := self._histories.get("generator"):
            history.add(output.networks.generator)

    def state_dict(self) -> dict[str, Tensor]:
        return {
            f"{network}.{name}": value
            for network, history in self._histories.items()
            for name, value in history.state_dict().items()
        }

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        for network, history in self._histories.items():
            prefix = f"{network}."
            history.load_state_dict(
                {name.removeprefix(prefix): v for name, v in state.items() if name.startswith(prefix)}
            )


@TECHNIQUES.register("parameter_averaging")
class ParameterAveraging(Technique):
    """Moves the generator's parameters towards an average of themselves (Bek and Aljanabi, "Improved
    Techniques for Training GANs Implementation").

    The average is exponential, with a half-life in images of at most `ramp_up` times the images so far, as in
    `ema`. After each step the parameters move towards it: `pull` is the share of the distance per 1000
    images. The report gives neither number.
    """

    stage: ClassVar[Stage] = "copy"

    half_life_images: PositiveFloat = 10_000
    ramp_up: float = Field(0.05, gt=0)
    pull: float = Field(0.05, gt=0, lt=1)

    _average: dict[str, Tensor] = PrivateAttr(default_factory=dict)

    def modify_networks(self, networks: Networks, random: torch.Generator) -> None:
        named = networks.generator.named_parameters()
        self._average = {name: parameter.detach().clone() for name, parameter in named}

    @torch.no_grad()
    def after_generator(self, output: ForwardOutput) -> None:
        images, seen = output.context.images_in_step, output.context.images_seen
        keep = 0.5 ** (images / min(self.half_life_images, seen * self.ramp_up))
        current = dict(output.networks.generator.named_parameters())
        averages = list(self._average.values())
        parameters: list[Tensor] = [current[name] for name in self._average]
        torch._foreach_lerp_(averages, parameters, 1 - keep)
        torch._foreach_lerp_(parameters, averages, 1 - (1 - self.pull) ** (images / 1000))

    def state_dict(self) -> dict[str, Tensor]:
        return dict(self._average)

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        for name, value in self._average.items():
            value.copy_(state[name])
