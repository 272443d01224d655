"""Differentiable augmentation of all that the discriminator sees."""

from typing import Literal

import torch
from pydantic import Field, field_validator

from kennel.rng import Draws
from kennel.shapes import Images
from kennel.techniques._image_ops import brightened, contrasted, cut_out, refuse_points, saturated, shifted
from kennel.techniques.base import TECHNIQUES, Kind, Networks, StepContext, Technique

Variation = Literal["colour", "translation", "cutout"]


@TECHNIQUES.register("diff_augment")
class DiffAugment(Technique):
    """DiffAugment (Zhao et al. 2020, arXiv 2006.10738): T(x) and T(G(z)) in place of x and G(z), always.

    `policy` lists the variations: `colour` (brightness, saturation, contrast), `translation` by up to
    `translation_share` of the side with mid-grey coming in, and `cutout` of a square whose side is
    `cutout_share` of the image's. The generator learns through T.
    """

    policy: tuple[Variation, ...] = ("colour", "translation", "cutout")
    translation_share: float = Field(0.125, ge=0, le=1)
    cutout_share: float = Field(0.5, gt=0, le=1)

    @field_validator("policy")
    @classmethod
    def _some_and_once(cls, policy: tuple[Variation, ...]) -> tuple[Variation, ...]:
        if not policy or len(set(policy)) < len(policy):
            raise ValueError(f"the policy {list(policy)} should list one or more variations, each once")
        return policy

    def modify_networks(self, networks: Networks, random: torch.Generator) -> None:
        """Refuses points."""
        refuse_points(networks, "diff_augment")

    def transform_inputs(self, images: Images, context: StepContext, kind: Kind) -> Images:
        """Every variation of the policy in turn, each image by draws of its own."""
        random = context.random(f"diff_augment.{kind}")
        for variation in self.policy:
            if variation == "colour":
                images = self._coloured(images, random)
            elif variation == "translation":
                images = self._translated(images, random)
            else:
                images = self._with_a_hole(images, random)
        return images

    def _coloured(self, images: Images, random: Draws) -> Images:
        """Brightness -0.5 to 0.5, saturation 0 to 2 (which a grey image lacks), contrast 0.5 to 1.5."""
        amount, saturation, contrast = random.uniform(3, len(images), rows=1)
        return contrasted(saturated(brightened(images, amount - 0.5), 2 * saturation), 0.5 + contrast)

    def _translated(self, images: Images, random: Draws) -> Images:
        down, right = (
            random.integers(-most, most + 1, len(images))
            for most in (_rounded(self.translation_share * side) for side in images.shape[2:])
        )
        return shifted(images, down, right, "zero")

    def _with_a_hole(self, images: Images, random: Draws) -> Images:
        side = _rounded(self.cutout_share * min(images.shape[2:]))
        # An even hole can be centred on the line between two pixels, so there is one place more for it.
        down, right = (
            random.integers(0, length + (side + 1) % 2, len(images)) for length in images.shape[2:]
        )
        return cut_out(images, down, right, side)


def _rounded(pixels: float) -> int:
    return int(pixels + 0.5)
