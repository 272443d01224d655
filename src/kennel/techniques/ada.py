"""Adaptive discriminator augmentation: as much of it as keeps the discriminator from learning by heart."""

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


class Chances:
    """The draws of one batch: whether an operation happens to an image, and how much of it there is."""

    def __init__(self, count: int, probability: Scalar, random: Draws) -> None:
        """`probability` is that of each operation on each image."""
        self.count = count
        self.probability = probability
        self.random = random

    def uniform(self, low: float, high: float) -> _image_ops.Amounts:
        """Uniform numbers, one an image."""
        return low + (high - low) * self.random.uniform(self.count)

    def normal(self, deviation: float) -> _image_ops.Amounts:
        """Normal numbers around 0, one an image."""
        return deviation * self.random.normal(self.count)

    def below(self, bound: int) -> _image_ops.Counts:
        """Whole numbers from 0 to bound - 1, one an image."""
        return self.random.integers(0, bound, self.count)

    def happens(self, probability: Scalar | None = None) -> _image_ops.Choices:
        """Which images an operation happens to."""
        return self.uniform(0.0, 1.0) < (self.probability if probability is None else probability)

    def amounts(self, drawn: Tensor) -> Tensor:
        """`drawn` where the operation happens, and 0 where it does not."""
        return torch.where(self.happens(), drawn, torch.zeros_like(drawn))

    def factors(self, deviation: float) -> _image_ops.Amounts:
        """2 to a normal number where the operation happens, and 1 where it does not."""
        return torch.exp(log(2) * self.amounts(self.normal(deviation)))


def blitted(images: Images, draws: Chances) -> Images:
    """Mirror images, quarter turns, shifts by whole pixels up to an eighth of the side: no value changes."""
    images = _image_ops.mirrored(images, draws.amounts(draws.below(2)) == 1)
    images = _image_ops.turned(images, draws.amounts(draws.below(4)))
    happens = draws.happens()
    down, right = (
        torch.where(happens, (side * draws.uniform(-0.125, 0.125)).round().long(), 0)
        for side in images.shape[2:]
    )
    return _image_ops.shifted(images, down, right, "reflect")


def deformed(images: Images, draws: Chances) -> Images:
    """Scaled, turned, stretched, turned again and shifted, by one resampling; the rest is left as it is."""
    scale = draws.factors(0.2)
    # Two rotations with this probability each leave an image upright with probability 1 - p.
    rotates = 1 - (1 - draws.probability).sqrt()
    first, last = (
        torch.where(draws.happens(rotates), angle, torch.zeros_like(angle))
        for angle in (draws.uniform(-pi, pi), draws.uniform(-pi, pi))
    )
    stretch = draws.factors(0.2)
    happens = draws.happens()
    height, width = images.shape[2:]
    down, right = (torch.where(happens, draws.normal(0.125), 0.0) for _ in range(2))
    # The map runs backward, from a pixel of the result to where it comes from.
    matrices = (
        _image_ops.scalings(1 / scale, 1 / scale)
        @ _image_ops.rotations(-first)
        @ _image_ops.scalings(1 / stretch, stretch)
        @ _image_ops.rotations(-last)
        @ _image_ops.translations(-right * width, -down * height)
    )
    touched = (scale != 1) | (first != 0) | (stretch != 1) | (last != 0) | happens
    return torch.where(_image_ops.per_image(touched), _image_ops.warped(images, matrices[:, :2]), images)


def recoloured(images: Images, draws: Chances) -> Images:
    """Brightness, contrast and light for dark, and of colour images hue and saturation too."""
    brightness = draws.amounts(draws.normal(0.2))
    contrast = draws.factors(0.5)
    images = _image_ops.per_image(contrast) * _image_ops.brightened(images, brightness)
    flips = draws.amounts(draws.below(2)) == 1
    if images.shape[1] != 3:  # the grey axis is all that there is
        return torch.where(_image_ops.per_image(flips), -images, images)
    hue = draws.amounts(draws.uniform(-pi, pi))
    saturation = draws.factors(1.0)
    matrices = (
        _image_ops.saturations(saturation) @ _image_ops.hue_rotations(hue) @ _image_ops.luma_flips(flips)
    )
    touched = flips | (hue != 0) | (saturation != 1)
    return torch.where(_image_ops.per_image(touched), _image_ops.recoloured(images, matrices), images)


@TECHNIQUES.register("ada")
class Ada(Technique):
    """Adaptive discriminator augmentation (Karras et al. 2020, arXiv 2006.06676).

    Every operation of `policy` happens to every image, real or generated, with probability p. After every
    `interval` turns of the discriminator, p rises where r = E[sign(D(x))] of the real images was above
    `target`, and falls where it was below, so fast that it could go from 0 to 1 in `adjustment_images`. With
    `fixed`, p follows a schedule instead: it rises to `fixed` along `ramp`, over the share `until` of the run
    (Huang et al. 2024 take a cosine).
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
    """E[sign(D(x))] of the last turn."""
    _signs: Tensor = PrivateAttr(default_factory=lambda: torch.zeros(()))
    """The sum of it over the turns since p was adjusted."""
    _turns: int = PrivateAttr(0)
    _images: float = PrivateAttr(0.0)

    def modify_networks(self, networks: Networks, random: torch.Generator) -> None:
        """Refuses points."""
        _image_ops.refuse_points(networks, "ada")

    def scheduled(self, progress: float) -> float:
        """`fixed`, or the way there."""
        assert self.fixed is not None
        start = self.fixed if self.ramp == "constant" else 0.0
        return decayed(self.ramp, start, self.fixed, progress / self.until)

    def probability(self, context: StepContext) -> Scalar:
        """p, a tensor on the device: nobody has to wait for its value."""
        if self.fixed is not None:
            return torch.tensor(self.scheduled(context.progress), device=context.device)
        return self._probability.to(context.device)

    def transform_inputs(self, images: Images, context: StepContext, kind: Kind) -> Images:
        """The operations of the policy, each with probability p."""
        draws = Chances(len(images), self.probability(context), context.random(f"ada.{kind}"))
        if "b" in self.policy:
            images = blitted(images, draws)
        if "g" in self.policy:
            images = deformed(images, draws)
        if "c" in self.policy:
            images = recoloured(images, draws)
        return images

    @torch.no_grad()
    def after_discriminator(self, output: ForwardOutput) -> None:
        """Looks how sure the discriminator is of real images, and adjusts p when it is time."""
        assert output.real_logits is not None  # always there in the discriminator's turn
        self._sign = mean_over_ranks(output.real_logits.sign().mean())
        self._probability = self.probability(output.context)
        if self.fixed is not None:
            return
        self._signs = self._signs.to(self._sign) + self._sign
        self._turns += 1
        self._images += output.context.images_in_step
        if self._turns < self.interval:
            return
        direction = (self._signs / self._turns - self.target).sign()
        step = direction * (self._images / self.adjustment_images)
        self._probability = (self._probability + step).clamp(0, 1)
        self._signs, self._turns, self._images = torch.zeros_like(self._signs), 0, 0.0

    def statistics(self) -> dict[str, Tensor]:
        """p, and E[sign(D(x))] of the last turn."""
        return {"probability": self._probability, "real_sign": self._sign}

    def state_dict(self) -> dict[str, Tensor]:
        """p, and what there is since it was adjusted."""
        return {
            "probability": self._probability,
            "signs": self._signs,
            "turns": torch.tensor(self._turns),
            "images": torch.tensor(self._images, dtype=torch.float64),
        }

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Takes them back."""
        self._probability, self._signs = state["probability"], state["signs"]
        self._turns, self._images = int(state["turns"].item()), state["images"].item()
