"""Noise on what the discriminator sees."""

from pydantic import Field, PositiveFloat

from kennel.config.schedules import Decay, decayed
from kennel.shapes import Images
from kennel.techniques.base import TECHNIQUES, Kind, StepContext, Technique


@TECHNIQUES.register("instance_noise")
class InstanceNoise(Technique):
    """Gaussian noise on real and fake images alike, fading over the run (Arjovsky and Bottou 2017).

    `variance` at the start, in the units of [-1, 1] images (0.01 in Shangguan et al. 2020), decays to 0 when
    `until` of the run is over. It makes the two distributions overlap, so that the discriminator's gradient
    means something.
    """

    variance: PositiveFloat = 0.01
    decay: Decay = "linear"
    until: float = Field(1.0, gt=0, le=1)

    def variance_at(self, progress: float) -> float:
        """The variance at this share of the run."""
        return decayed(self.decay, self.variance, 0.0, progress / self.until)

    def transform_inputs(self, images: Images, context: StepContext, kind: Kind) -> Images:
        """Adds fresh noise to every pixel."""
        variance = self.variance_at(context.progress)
        if variance == 0:
            return images
        noise = context.random(f"instance_noise.{kind}").normal(*images.shape)
        return images + noise.mul_(variance**0.5)
