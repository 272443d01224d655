"""Techniques that change the labels of the discriminator's loss."""

from typing import Annotated, ClassVar

import torch
from pydantic import Field, model_validator

from kennel.losses import Targets
from kennel.techniques.contract import TECHNIQUES, Technique, Turn

Probability = Annotated[float, Field(ge=0, le=1)]


@TECHNIQUES.register("one_sided_smoothing")
class OneSidedSmoothing(Technique):
    """The label of real images is `real` in place of 1; fakes keep 0 (Salimans et al. 2016, section 3.4).

    `real` is a value (0.9; paper 001 has 0.8) or a range, from which each image draws its own (paper 003:
    0.9-1.0). Smoothing the fakes too would make the best discriminator favour the generator's errors.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"labels"})

    real: Probability | tuple[Probability, Probability] = 0.9

    @model_validator(mode="after")
    def _ordered(self) -> "OneSidedSmoothing":
        if isinstance(self.real, tuple) and self.real[0] > self.real[1]:
            raise ValueError(f"the range {self.real} runs backwards: give the lower end first")
        return self

    def targets(self, targets: Targets, turn: Turn) -> Targets:
        """Replaces the real labels."""
        if isinstance(self.real, tuple):
            low, high = self.real
            drawn = torch.rand(
                targets.real.shape, generator=turn.random("one_sided_smoothing"), device=turn.device
            )
            return targets._replace(real=low + (high - low) * drawn)
        return targets._replace(real=torch.full_like(targets.real, self.real))


@TECHNIQUES.register("noisy_labels")
class NoisyLabels(Technique):
    """Now and then the discriminator is told the opposite (Chintala et al. 2016, "GAN hacks", number 6).

    Each label is replaced by that of the other side, 1 - label, with `probability`.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"labels"})

    probability: Probability = 0.05

    def targets(self, targets: Targets, turn: Turn) -> Targets:
        """Flips some labels on both sides."""
        random = turn.random("noisy_labels")

        def flipped(labels: torch.Tensor) -> torch.Tensor:
            flip = torch.rand(labels.shape, generator=random, device=turn.device) < self.probability
            return torch.where(flip, 1 - labels, labels)

        return Targets(flipped(targets.real), flipped(targets.fake))
