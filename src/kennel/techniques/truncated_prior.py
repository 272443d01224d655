"""What the latents of training are drawn from."""

import math
from typing import ClassVar

import torch
from pydantic import PositiveFloat

from kennel.shapes import Latents
from kennel.techniques.base import TECHNIQUES, StepContext, Technique


@TECHNIQUES.register("truncated_prior")
class TruncatedPrior(Technique):
    """Latents of N(0, 1) that are outside [-threshold, threshold] are drawn again until they are inside, in
    training (Brock et al. 2019, arXiv 1809.11096, have it at sampling).

    It is N(0, 1), truncated, that the new values come from: a uniform prior is refused.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"normal_latents"})

    threshold: PositiveFloat = 2.0

    def transform_latents(self, latents: Latents, context: StepContext) -> Latents:
        """Replaces the values that are outside; the others stay."""
        # Drawing until inside gives the truncated normal. Its inverse distribution function gives it at once,
        # without asking the device whether one more round is needed.
        inside = math.erf(self.threshold / math.sqrt(2))  # the probability of [-threshold, threshold]
        random = context.random("truncated_prior")
        uniform = random.uniform(*latents.shape) * 2 - 1
        redrawn = math.sqrt(2) * torch.erfinv(uniform * inside)
        redrawn = redrawn.clamp(-self.threshold, self.threshold)  # rounding at the very edge
        return torch.where(latents.abs() > self.threshold, redrawn, latents)
