"""Augmentation of the real images, on the device."""

from pydantic import Field, model_validator

from kennel.data import augment
from kennel.shapes import Images
from kennel.techniques.base import TECHNIQUES, StepContext, Technique


@TECHNIQUES.register("random_resized_crop")
class RandomResizedCrop(Technique):
    """A random crop of each real image, with `scale` of its area and `ratio` of sides, resized to full size.

    The defaults are those of Shangguan et al. 2020 (III.B.3): area 0.8-1.0, ratio 3/4-4/3. Bilinear and
    antialiased.
    """

    scale: tuple[float, float] = (0.8, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)

    @model_validator(mode="after")
    def _check(self) -> "RandomResizedCrop":
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise ValueError(f"scale {self.scale} is not a range of areas: expected 0 < low <= high <= 1")
        if not 0 < self.ratio[0] <= self.ratio[1]:
            raise ValueError(f"ratio {self.ratio} is not a range of width/height: expected 0 < low <= high")
        return self

    def augment_real(self, real: Images, context: StepContext) -> Images:
        random = context.random("random_resized_crop")
        return augment.random_resized_crop(real, self.scale, self.ratio, random)


@TECHNIQUES.register("horizontal_flip")
class HorizontalFlip(Technique):
    """Mirrors each real image with `probability` (Shangguan et al. 2020, III.B.3)."""

    probability: float = Field(0.5, ge=0, le=1)

    def augment_real(self, real: Images, context: StepContext) -> Images:
        return augment.horizontal_flip(real, self.probability, context.random("horizontal_flip"))
