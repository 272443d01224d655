"""Differentiable augmentation of the discriminator's input."""

from typing import Literal

import torch
from pydantic import Field, field_validator

from kennel.rng import Draws
from kennel.shapes import Images
from kennel.techniques._image_ops import (
    adjust_brightness,
    adjust_contrast,
    adjust_saturation,
    cutout,
    refuse_points,
    translate,
)
from kennel.techniques.base import TECHNIQUES, Kind, Networks, StepContext, Technique

Variation = Literal["colour", "translation", "cutout"]


@TECHNIQUES.register("diff_augment")
class DiffAugment(Technique):
    """DiffAugment (Zhao et al. 2020, arXiv 2006.10738): augments all real and generated images.

    `policy` lists the operations: `colour` (brightness, saturation, contrast), `translation` by up to
    `translation_share` of the side with a mid-gray border, and `cutout` of a square whose side is
    `cutout_share` of the image's. The generator's gradient flows through the augmentation.
    """

    policy: tuple[Variation, ...] = ("colour", "translation", "cutout")
    translation_share: float = Field(0.125, ge=0, le=1)
    cutout_share: float = Field(0.5, gt=0, le=1)

    @field_validator("policy")
    @classmethod
    def _check_policy(cls, policy: tuple[Variation, ...]) -> tuple[Variation, ...]:
        if not policy or len(set(policy)) < len(policy):
            raise ValueError(f"the policy {list(policy)} should list one or more operations, each once")
        return policy

    def modify_networks(self, networks: Networks, random: torch.Generator) -> None:
        refuse_points(networks, "diff_augment")

    def transform_inputs(self, images: Images, context: StepContext, kind: Kind) -> Images:
        random = context.random(f"diff_augment.{kind}")
        for variation in self.policy:
            if variation == "colour":
                images = self._color(images, random)
            elif variation == "translation":
                images = self._translate(images, random)
            else:
                images = self._cutout(images, random)
        return images

    def _color(self, images: Images, random: Draws) -> Images:
        """Brightness -0.5 to 0.5, saturation 0 to 2, contrast 0.5 to 1.5."""
        amount, saturation, contrast = random.uniform(3, len(images), rows=1)
        images = adjust_saturation(adjust_brightness(images, amount - 0.5), 2 * saturation)
        return adjust_contrast(images, 0.5 + contrast)

    def _translate(self, images: Images, random: Draws) -> Images:
        limits = [_rounded(self.translation_share * side) for side in images.shape[2:]]
        down, right = (random.integers(-limit, limit + 1, len(images)) for limit in limits)
        return translate(images, down, right, "zero")

    def _cutout(self, images: Images, random: Draws) -> Images:
        side = _rounded(self.cutout_share * min(images.shape[2:]))
        # The center of an even square lies between two pixels, so it has one more position.
        down, right = (
            random.integers(0, length + (side + 1) % 2, len(images)) for length in images.shape[2:]
        )
        return cutout(images, down, right, side)


def _rounded(pixels: float) -> int:
    return int(pixels + 0.5)
