"""Averages of the generator's weights."""

import copy
from typing import ClassVar

import torch
from pydantic import Field, PositiveFloat, PrivateAttr
from torch import Tensor

from kennel.config.schedules import Decay, decayed
from kennel.networks import Generator
from kennel.techniques.base import TECHNIQUES, ForwardOutput, Networks, Stage, StepContext, Technique


@TECHNIQUES.register("ema")
class Ema(Technique):
    """An exponential moving average of the generator, to sample from (Yazici et al. 2018, arXiv 1806.04498).

    `half_life_images`: after so many images an old weight counts half. They are real images shown to the
    discriminator, as the budget and the log count them: a round with several of its turns shows several
    batches. A decay b per generator's turn from a paper is a half-life of (images a turn) * log 0.5 / log b.
    While the run is young the half-life is at most `ramp_up` of the images seen, so that the average does not
    remember its random beginning. With a `ramp`, it grows besides from 0 to `half_life_images` while the run
    goes to `until` (a share of its budget; Huang et al. 2024, arXiv 2501.05441, take a cosine). Buffers
    (batch norm's statistics) are averaged too.
    """

    stage: ClassVar[Stage] = "copy"

    half_life_images: PositiveFloat = 10_000
    ramp_up: float = Field(0.05, gt=0)
    ramp: Decay = "constant"
    until: float = Field(1.0, gt=0, le=1)

    _average: Generator | None = PrivateAttr(None)

    def modify_networks(self, networks: Networks, random: torch.Generator) -> None:
        """Takes a copy of the finished generator."""
        self._average = copy.deepcopy(networks.generator).requires_grad_(False).eval()

    def half_life(self, context: StepContext) -> float:
        """The half-life in images that holds at this turn."""
        start = self.half_life_images if self.ramp == "constant" else 0.0
        scheduled = decayed(self.ramp, start, self.half_life_images, context.progress / self.until)
        return min(scheduled, context.images_seen * self.ramp_up)

    @torch.no_grad()
    def after_generator(self, output: ForwardOutput) -> None:
        """Moves the average towards the generator by what the images since the last round weigh."""
        context, half_life = output.context, self.half_life(output.context)
        keep = 0.5 ** (context.images_in_step / half_life) if half_life else 0.0
        averages, currents = self._paired(output.networks.generator)
        torch._foreach_lerp_(averages, currents, 1 - keep)

    def _paired(self, generator: Generator) -> tuple[list[Tensor], list[Tensor]]:
        """Floating tensors of the average and of the generator; counters are copied at once."""
        averages, currents = [], []
        average_state, state = self._module.state_dict(), generator.state_dict()
        for name, value in average_state.items():
            if value.is_floating_point():
                averages.append(value)
                currents.append(state[name])
            else:
                value.copy_(state[name])
        return averages, currents

    @property
    def _module(self) -> Generator:
        assert self._average is not None, "build comes before any turn"
        return self._average

    def sampling_generator(self) -> Generator:
        """The average, in evaluation mode."""
        return self._module

    def state_dict(self) -> dict[str, Tensor]:
        """The average's weights and buffers."""
        return {f"average.{name}": value for name, value in self._module.state_dict().items()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Takes the average back."""
        self._module.load_state_dict({name.removeprefix("average."): value for name, value in state.items()})
