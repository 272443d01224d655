"""Consistency of the discriminator under small image transformations."""

import torch
from pydantic import Field

from kennel.shapes import Images, Logits, Scalar
from kennel.techniques._image_ops import Padding, hflip, refuse_points, translate
from kennel.techniques.base import TECHNIQUES, ForwardOutput, Kind, LossTerm, Networks, StepContext


@TECHNIQUES.register("consistency")
class Consistency(LossTerm):
    """Consistency regularization (Zhang et al. 2020, arXiv 1910.12027), optionally of fakes too.

    T(x) shifts an image by up to `shift` of its side in whole pixels, fills the border by `padding`, and
    flips it with probability `flip`. `fakes_weight` 1 treats generated images like real ones: balanced
    consistency regularization (Zhao et al. 2021, arXiv 2002.04724, algorithm 1).
    """

    weight: float = Field(10.0, ge=0, allow_inf_nan=False)
    fakes_weight: float = Field(0.0, ge=0, allow_inf_nan=False)
    shift: float = Field(0.125, ge=0, le=1)
    flip: float = Field(0.5, ge=0, le=1)
    padding: Padding = "reflect"

    def modify_networks(self, networks: Networks, random: torch.Generator) -> None:
        refuse_points(networks, "consistency")

    def varied(self, images: Images, context: StepContext, kind: Kind) -> Images:
        random, count = context.random(f"consistency.{kind}"), len(images)
        limits = [round(self.shift * side) for side in images.shape[2:]]
        down, right = (random.integers(-limit, limit + 1, count) for limit in limits)
        return hflip(translate(images, down, right, self.padding), random.uniform(count) < self.flip)

    def discriminator_term(self, output: ForwardOutput) -> Scalar:
        """E|D(x) - D(T(x))|^2, plus `fakes_weight` times that of the fakes."""
        term = self._distance(output, output.real_logits, output.real_seen, "real")
        if self.fakes_weight:
            fakes = self._distance(output, output.fake_logits, output.fake_seen, "fake")
            term = term + self.fakes_weight * fakes
        return term

    def _distance(
        self, output: ForwardOutput, logits: Logits | None, seen: Images | None, kind: Kind
    ) -> Scalar:
        assert logits is not None
        assert seen is not None
        varied = self.varied(seen.detach(), output.context, kind)
        return (logits - output.discriminate(varied)).square().mean()
