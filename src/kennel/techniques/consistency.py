"""A discriminator that gives an image and a small variation of it the same logit."""

import torch
from pydantic import Field

from kennel.shapes import Images, Logits, Scalar
from kennel.techniques._image_ops import Padding, mirrored, refuse_points, shifted
from kennel.techniques.base import TECHNIQUES, ForwardOutput, Kind, LossTerm, Networks, StepContext


@TECHNIQUES.register("consistency")
class Consistency(LossTerm):
    """Consistency regularisation (Zhang et al. 2020, arXiv 1910.12027), and of fakes if asked for.

    An image T(x) is shifted by up to `shift` of its side in whole pixels, what comes in being `padding`, and
    mirrored with probability `flip`. `fakes_weight` 1 counts generated images like real ones: balanced
    consistency regularisation (Zhao et al. 2021, arXiv 2002.04724, algorithm 1).
    """

    weight: float = Field(10.0, ge=0, allow_inf_nan=False)
    fakes_weight: float = Field(0.0, ge=0, allow_inf_nan=False)
    shift: float = Field(0.125, ge=0, le=1)
    flip: float = Field(0.5, ge=0, le=1)
    padding: Padding = "reflect"

    def modify_networks(self, networks: Networks, random: torch.Generator) -> None:
        """Refuses points."""
        refuse_points(networks, "consistency")

    def varied(self, images: Images, context: StepContext, kind: Kind) -> Images:
        """T: each image shifted, and perhaps mirrored."""
        random, count = context.random(f"consistency.{kind}"), len(images)
        height, width = images.shape[2:]

        def pixels(side: int) -> torch.Tensor:
            most = round(self.shift * side)
            return random.integers(-most, most + 1, count)

        moved = shifted(images, pixels(height), pixels(width), self.padding)
        return mirrored(moved, random.uniform(count) < self.flip)

    def discriminator_term(self, output: ForwardOutput) -> Scalar:
        """E|D(x) - D(T(x))|^2, and `fakes_weight` times that of the fakes."""
        term = self._distance(output, output.real_logits, output.real_seen, "real")
        if self.fakes_weight:
            term = term + self.fakes_weight * self._distance(
                output, output.fake_logits, output.fake_seen, "fake"
            )
        return term

    def _distance(
        self, output: ForwardOutput, logits: Logits | None, seen: Images | None, kind: Kind
    ) -> Scalar:
        assert logits is not None
        assert seen is not None  # both sides are there in the discriminator's turn
        return (
            (logits - output.discriminate(self.varied(seen.detach(), output.context, kind))).square().mean()
        )
