"""A truncated prior in training."""

import math
from typing import ClassVar

import torch
from pydantic import PositiveFloat

from kennel.shapes import Latents
from kennel.techniques.base import TECHNIQUES, StepContext, Technique


@TECHNIQUES.register("truncated_prior")
class TruncatedPrior(Technique):
    """Resamples latents of N(0, 1) outside [-threshold, threshold] until they are inside, in training
    (Brock et al. 2019, arXiv 1809.11096, do it in sampling).

    Needs a normal prior; uniform latents are refused.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"normal_latents"})

    threshold: PositiveFloat = 2.0

    def transform_latents(self, latents: Latents, context: StepContext) -> Latents:
        # Resampling gives the truncated normal. Its inverse distribution function needs one draw only, and no
        # synchronization with the device.
        inside = math.erf(self.threshold / math.sqrt(2))  # the probability of [-threshold, threshold]
        random = context.random("truncated_prior")
        uniform = random.uniform(*latents.shape) * 2 - 1
        redrawn = math.sqrt(2) * torch.erfinv(uniform * inside)
        redrawn = redrawn.clamp(-self.threshold, self.threshold)  # against rounding
        return torch.where(latents.abs() > self.threshold, redrawn, latents)
