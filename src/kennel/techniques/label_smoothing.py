"""Changes to the labels of the discriminator's loss."""

from typing import Annotated, ClassVar

import torch
from pydantic import Field, model_validator

from kennel.losses import Targets
from kennel.techniques.base import TECHNIQUES, StepContext, Technique

Probability = Annotated[float, Field(ge=0, le=1)]


@TECHNIQUES.register("one_sided_smoothing")
class OneSidedSmoothing(Technique):
    """The label of real images is `real` instead of 1; fakes keep 0 (Salimans et al. 2016, section 3.4).

    `real` is a value (0.9; Shangguan et al. 2020 have 0.8) or a range (0.9-1.0), from which each image's
    label is drawn. Smoothing of the fakes' label too would make the optimal discriminator reinforce errors of
    the generator.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"labels"})

    real: Probability | tuple[Probability, Probability] = 0.9

    @model_validator(mode="after")
    def _check(self) -> "OneSidedSmoothing":
        if isinstance(self.real, tuple) and self.real[0] > self.real[1]:
            raise ValueError(f"the range {self.real} runs backwards: give the lower end first")
        return self

    def modify_targets(self, targets: Targets, context: StepContext) -> Targets:
        low, high = self.real if isinstance(self.real, tuple) else (self.real, self.real)
        smoothed = torch.full_like(targets.real, low)
        if high > low:
            drawn = context.random("one_sided_smoothing").uniform(len(targets.real))
            smoothed = low + (high - low) * drawn
        # Flipped labels stay, so that the order of the two techniques does not matter.
        return targets._replace(real=torch.where(targets.real == 0, targets.real, smoothed))


@TECHNIQUES.register("noisy_labels")
class NoisyLabels(Technique):
    """Occasionally flips the discriminator's labels (Chintala et al. 2016, "GAN hacks", number 6).

    Each label is flipped with `probability`, to 0 for a real image, to 1 for a fake.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"labels"})

    probability: Probability = 0.05

    def modify_targets(self, targets: Targets, context: StepContext) -> Targets:
        random = context.random("noisy_labels")

        def flipped(labels: torch.Tensor, other: float) -> torch.Tensor:
            flip = random.uniform(len(labels)) < self.probability
            return labels.masked_fill(flip, other)

        return targets._replace(real=flipped(targets.real, 0.0), fake=flipped(targets.fake, 1.0))
