"""Noise on the discriminator's input."""

from pydantic import Field, PositiveFloat

from kennel.config.schedules import Decay, decayed
from kennel.shapes import Images
from kennel.techniques.base import TECHNIQUES, Kind, StepContext, Technique


@TECHNIQUES.register("instance_noise")
class InstanceNoise(Technique):
    """Decaying Gaussian noise on real and fake images (Arjovsky and Bottou 2017).

    It starts at `variance`, in units of [-1, 1] images (0.01 in Shangguan et al. 2020), and decays to 0 over
    the share `until` of the run. With noise the two distributions overlap, which keeps the discriminator's
    gradient informative.
    """

    variance: PositiveFloat = 0.01
    decay: Decay = "linear"
    until: float = Field(1.0, gt=0, le=1)

    def variance_at(self, progress: float) -> float:
        return decayed(self.decay, self.variance, 0.0, progress / self.until)

    def transform_inputs(self, images: Images, context: StepContext, kind: Kind) -> Images:
        variance = self.variance_at(context.progress)
        if variance == 0:
            return images
        noise = context.random(f"instance_noise.{kind}").normal(*images.shape)
        return images + noise.mul_(variance**0.5)
