"""The exponential moving average of the generator."""

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

    `half_life_images` is the number of images after which an old weight counts half. These are real images
    shown to the discriminator, as in the budget and the log; an iteration with several discriminator steps
    shows several batches. A paper's decay b per generator step is a half-life of
    (images per step) * log 0.5 / log b. The half-life is at most `ramp_up` times the images so far, so that
    the average forgets the initial weights. With a `ramp` it also grows from 0 to `half_life_images` over the
    share `until` of the run (Huang et al. 2024, arXiv 2501.05441, take a cosine). Buffers (batch norm
    statistics) are averaged too.
    """

    stage: ClassVar[Stage] = "copy"

    half_life_images: PositiveFloat = 10_000
    ramp_up: float = Field(0.05, gt=0)
    ramp: Decay = "constant"
    until: float = Field(1.0, gt=0, le=1)

    _average: Generator | None = PrivateAttr(None)

    def modify_networks(self, networks: Networks, random: torch.Generator) -> None:
        self._average = copy.deepcopy(networks.generator).requires_grad_(False).eval()

    def half_life(self, context: StepContext) -> float:
        start = self.half_life_images if self.ramp == "constant" else 0.0
        scheduled = decayed(self.ramp, start, self.half_life_images, context.progress / self.until)
        return min(scheduled, context.images_seen * self.ramp_up)

    @torch.no_grad()
    def after_generator(self, output: ForwardOutput) -> None:
        half_life = self.half_life(output.context)
        keep = 0.5 ** (output.context.images_in_step / half_life) if half_life else 0.0
        averages, currents = [], []
        state = output.networks.generator.state_dict()
        for name, value in self.sampling_generator().state_dict().items():
            if value.is_floating_point():
                averages.append(value)
                currents.append(state[name])
            else:
                value.copy_(state[name])
        torch._foreach_lerp_(averages, currents, 1 - keep)

    def sampling_generator(self) -> Generator:
        assert self._average is not None
        return self._average

    def state_dict(self) -> dict[str, Tensor]:
        return {f"average.{name}": value for name, value in self.sampling_generator().state_dict().items()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        average = {name.removeprefix("average."): value for name, value in state.items()}
        self.sampling_generator().load_state_dict(average)
