"""The generator matches moments of a fixed network's features of real images."""

import torch
from jaxtyping import Float
from pydantic import PositiveFloat, PrivateAttr
from torch import Tensor

from kennel.distributed import mean_over_ranks
from kennel.shapes import Embedded, Features, Scalar
from kennel.techniques.base import TECHNIQUES, ForwardOutput, LossTerm, Networks

Moments = Float[Tensor, "2 features"]
"""Mean, and mean square."""
MIN_VARIANCE = 1e-12


def pooled(embedded: Embedded) -> list[Features]:
    """The mean over positions of each map, (batch, channels), float32."""
    maps = [embedded] if isinstance(embedded, Tensor) else list(embedded)
    return [one.float().mean((2, 3)) for one in maps]


def moments_of(features: Features) -> Moments:
    return torch.stack([features.mean(0), features.square().mean(0)])


@TECHNIQUES.register("moment_matching")
class MomentMatching(LossTerm):
    """Matches mean and deviation of the discriminator's embedded maps to those of real images.

    Each map is averaged over positions to one number per channel. The term is, summed over the maps,

        (|mean - mean_real|^2 + |deviation - deviation_real|^2) / |deviation_real|^2

    with means and standard deviations over images, which dos Santos et al. 2019 (arXiv 1904.02762, section
    2.2) match in the features of a pretrained network. As there, they are moving averages, with a half-life
    of `half_life_images`, since a batch's moments are noisy. The gradient is that of the batch's moments, at
    the values of the averages.

    The maps are those of a discriminator's fixed network (`projected`), and the images if one of its heads
    sees them. Without a fixed network only the images are matched, in brightness and color.
    """

    weight: float = 0.3
    half_life_images: PositiveFloat = 1_000

    # Decaying sums of the moments of each map, real and fake, and of their weights.
    _real: list[Tensor] = PrivateAttr(default_factory=list)
    _fake: list[Tensor] = PrivateAttr(default_factory=list)
    _weight: Tensor = PrivateAttr(default_factory=lambda: torch.zeros(()))

    def modify_networks(self, networks: Networks, random: torch.Generator) -> None:
        self._real, self._fake = (
            [torch.zeros(2, width) for width in networks.discriminator.embedded_widths] for _ in range(2)
        )
        self._weight = torch.zeros(())

    @torch.no_grad()
    def after_discriminator(self, output: ForwardOutput) -> None:
        assert output.real_embedded is not None
        keep = 0.5 ** (output.context.images_in_step / self.half_life_images)
        for name, embedded in (("_real", output.real_embedded), ("_fake", output.fake_embedded)):
            batch = [mean_over_ranks(moments_of(features)) for features in pooled(embedded)]
            sums = [old.to(new) for old, new in zip(getattr(self, name), batch, strict=True)]
            setattr(self, name, [keep * old + (1 - keep) * new for old, new in zip(sums, batch, strict=True)])
        self._weight = keep * self._weight.to(output.fake.device) + (1 - keep)

    def generator_term(self, output: ForwardOutput) -> Scalar:
        """The distance of both averages, with the gradient of this batch's moments."""
        term = output.fake.new_zeros(())
        for real, fake, features in zip(self._real, self._fake, pooled(output.fake_embedded), strict=True):
            batch = moments_of(features)
            mean, deviation = _mean_and_deviation(fake / self._weight + batch - batch.detach())
            mean_real, deviation_real = _mean_and_deviation(real / self._weight)
            apart = (mean - mean_real).square().sum() + (deviation - deviation_real).square().sum()
            term = term + apart / deviation_real.square().sum()
        return term

    def state_dict(self) -> dict[str, Tensor]:
        state = {f"real.{index}": one for index, one in enumerate(self._real)}
        state |= {f"fake.{index}": one for index, one in enumerate(self._fake)}
        return {**state, "weight": self._weight}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self._real = [state[f"real.{index}"] for index in range(len(self._real))]
        self._fake = [state[f"fake.{index}"] for index in range(len(self._fake))]
        self._weight = state["weight"]


def _mean_and_deviation(moments: Moments) -> tuple[Tensor, Tensor]:
    mean, square = moments
    return mean, (square - mean.square()).clamp_min(MIN_VARIANCE).sqrt()
