"""Adaptive discriminator augmentation."""

from math import log, pi
from typing import Literal

import torch
from pydantic import Field, PositiveInt, PrivateAttr
from torch import Tensor

from kennel.config.schedules import Decay, decayed
from kennel.distributed import mean_over_ranks
from kennel.rng import Draws
from kennel.shapes import Images, Scalar
from kennel.techniques import _image_ops
from kennel.techniques.base import TECHNIQUES, ForwardOutput, Kind, Networks, StepContext, Technique


class AugmentationDraws:
    """Random draws per image of a batch: parameters of an operation, and whether it is applied."""

    def __init__(self, count: int, probability: Scalar, random: Draws) -> None:
        """`probability` of each operation for each image."""
        self.count = count
        self.probability = probability
        self.random = random

    def uniform(self, low: float, high: float) -> _image_ops.Amounts:
        return low + (high - low) * self.random.uniform(self.count)

    def normal(self, deviation: float) -> _image_ops.Amounts:
        return deviation * self.random.normal(self.count)

    def integers(self, bound: int) -> _image_ops.Counts:
        return self.random.integers(0, bound, self.count)

    def applied(self, probability: Scalar | None = None) -> _image_ops.Choices:
        """The images to which an operation is applied."""
        return self.uniform(0.0, 1.0) < (self.probability if probability is None else probability)

    def amounts(self, drawn: Tensor) -> Tensor:
        """`drawn` where the operation is applied, and 0 elsewhere."""
        return torch.where(self.applied(), drawn, torch.zeros_like(drawn))

    def factors(self, deviation: float) -> _image_ops.Amounts:
        """2 to the power of a normal number where the operation is applied, and 1 elsewhere."""
        return torch.exp(log(2) * self.amounts(self.normal(deviation)))


def pixel_blitting(images: Images, draws: AugmentationDraws) -> Images:
    """Flips, rotations by quarters, and translations by whole pixels up to an eighth of the side."""
    images = _image_ops.hflip(images, draws.amounts(draws.integers(2)) == 1)
    images = _image_ops.rotate_quarters(images, draws.amounts(draws.integers(4)))
    applied = draws.applied()
    down, right = (
        torch.where(applied, (side * draws.uniform(-0.125, 0.125)).round().long(), 0)
        for side in images.shape[2:]
    )
    return _image_ops.translate(images, down, right, "reflect")


def geometric_transforms(images: Images, draws: AugmentationDraws) -> Images:
    """Scaling, rotation, stretching, a second rotation and translation, in one resampling."""
    scale = draws.factors(0.2)
    # With this probability for each rotation, an image stays upright with probability 1 - p.
    rotation_probability = 1 - (1 - draws.probability).sqrt()
    first, last = (
        torch.where(draws.applied(rotation_probability), angle, torch.zeros_like(angle))
        for angle in (draws.uniform(-pi, pi), draws.uniform(-pi, pi))
    )
    stretch = draws.factors(0.2)
    translated = draws.applied()
    height, width = images.shape[2:]
    down, right = (torch.where(translated, draws.normal(0.125), 0.0) for _ in range(2))
    # The inverse map, from an output pixel to its source.
    matrices = (
        _image_ops.scale_matrices(1 / scale, 1 / scale)
        @ _image_ops.rotation_matrices(-first)
        @ _image_ops.scale_matrices(1 / stretch, stretch)
        @ _image_ops.rotation_matrices(-last)
        @ _image_ops.translation_matrices(-right * width, -down * height)
    )
    changed = (scale != 1) | (first != 0) | (stretch != 1) | (last != 0) | translated
    warped = _image_ops.warp_affine(images, matrices[:, :2])
    return torch.where(_image_ops.per_image(changed), warped, images)


def color_transforms(images: Images, draws: AugmentationDraws) -> Images:
    """Brightness, contrast and luma flips; hue and saturation of color images."""
    brightness = draws.amounts(draws.normal(0.2))
    contrast = draws.factors(0.5)
    images = _image_ops.per_image(contrast) * _image_ops.adjust_brightness(images, brightness)
    flips = draws.amounts(draws.integers(2)) == 1
    if images.shape[1] != 3:
        return torch.where(_image_ops.per_image(flips), -images, images)
    hue = draws.amounts(draws.uniform(-pi, pi))
    saturation = draws.factors(1.0)
    matrices = (
        _image_ops.saturation_matrices(saturation)
        @ _image_ops.hue_matrices(hue)
        @ _image_ops.luma_flip_matrices(flips)
    )
    changed = flips | (hue != 0) | (saturation != 1)
    return torch.where(_image_ops.per_image(changed), _image_ops.mix_channels(images, matrices), images)


@TECHNIQUES.register("ada")
class Ada(Technique):
    """Adaptive discriminator augmentation (Karras et al. 2020, arXiv 2006.06676).

    Every operation of `policy` is applied to every image, real or generated, with probability p. After every
    `interval` discriminator steps, p rises if r = E[sign(D(x))] of the real images was above `target`, and
    falls otherwise, at a rate that takes it from 0 to 1 in `adjustment_images`. With `fixed`, p follows a
    schedule instead: it rises to `fixed` along `ramp`, over the share `until` of the run (Huang et al. 2024
    take a cosine).
    """

    policy: Literal["b", "g", "c", "bg", "bc", "gc", "bgc"] = "bgc"
    target: float = Field(0.6, gt=-1, lt=1)
    interval: PositiveInt = 4
    adjustment_images: PositiveInt = 500_000
    fixed: float | None = Field(None, ge=0, le=1)
    ramp: Decay = "cosine"
    until: float = Field(1.0, gt=0, le=1)

    _probability: Tensor = PrivateAttr(default_factory=lambda: torch.zeros(()))
    _sign: Tensor = PrivateAttr(default_factory=lambda: torch.zeros(()))
    """E[sign(D(x))] of the last step."""
    _signs: Tensor = PrivateAttr(default_factory=lambda: torch.zeros(()))
    """Its sum over the steps since the last adjustment of p."""
    _steps: int = PrivateAttr(0)
    _images: float = PrivateAttr(0.0)

    def modify_networks(self, networks: Networks, random: torch.Generator) -> None:
        _image_ops.refuse_points(networks, "ada")

    def scheduled(self, progress: float) -> float:
        assert self.fixed is not None
        start = self.fixed if self.ramp == "constant" else 0.0
        return decayed(self.ramp, start, self.fixed, progress / self.until)

    def probability(self, context: StepContext) -> Scalar:
        """p, a tensor on the device, so that no step waits for its value."""
        if self.fixed is not None:
            return torch.tensor(self.scheduled(context.progress), device=context.device)
        return self._probability.to(context.device)

    def transform_inputs(self, images: Images, context: StepContext, kind: Kind) -> Images:
        random = context.random(f"ada.{kind}")
        draws = AugmentationDraws(len(images), self.probability(context), random)
        if "b" in self.policy:
            images = pixel_blitting(images, draws)
        if "g" in self.policy:
            images = geometric_transforms(images, draws)
        if "c" in self.policy:
            images = color_transforms(images, draws)
        return images

    @torch.no_grad()
    def after_discriminator(self, output: ForwardOutput) -> None:
        assert output.real_logits is not None
        self._sign = mean_over_ranks(output.real_logits.sign().mean())
        self._probability = self.probability(output.context)
        if self.fixed is not None:
            return
        self._signs = self._signs.to(self._sign) + self._sign
        self._steps += 1
        self._images += output.context.images_in_step
        if self._steps < self.interval:
            return
        direction = (self._signs / self._steps - self.target).sign()
        change = direction * (self._images / self.adjustment_images)
        self._probability = (self._probability + change).clamp(0, 1)
        self._signs, self._steps, self._images = torch.zeros_like(self._signs), 0, 0.0

    def statistics(self) -> dict[str, Tensor]:
        return {"probability": self._probability, "real_sign": self._sign}

    def state_dict(self) -> dict[str, Tensor]:
        return {
            "probability": self._probability,
            "signs": self._signs,
            "turns": torch.tensor(self._steps),
            "images": torch.tensor(self._images, dtype=torch.float64),
        }

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self._probability, self._signs = state["probability"], state["signs"]
        self._steps, self._images = int(state["turns"].item()), state["images"].item()
