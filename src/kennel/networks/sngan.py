"""SNGAN's residual networks (Miyato et al. 2018, arXiv 1802.05957) as its authors published them.

With classes they are those of Miyato and Koyama (2018, arXiv 1802.05637): gains and biases of batch norm per
class in the generator, a projection in the discriminator. Spectral normalization is a technique.
"""

from typing import ClassVar, Literal

from pydantic import PositiveFloat, PositiveInt

from kennel.config import base
from kennel.networks.base import DISCRIMINATORS, GENERATORS, NetworkSpec
from kennel.networks.layers.activations import Activation
from kennel.networks.layers.normalization import Condition, Conditioning
from kennel.networks.residual import ResidualDiscriminator, ResidualGenerator
from kennel.shapes import Features, Labels, Latents


@GENERATORS.register("sngan")
class SnganGenerator(ResidualGenerator):
    """Latent -> 4x4 -> residual blocks -> image; the blocks' batch norms have gains and biases per class."""

    class Options(base.Config):
        """`base_channels` in the last block of 64x64 images; 64 gives the published tables at each size."""

        base_channels: PositiveInt = 64
        activation: Activation = "relu"
        epsilon: PositiveFloat = 2e-5

    multiples: ClassVar[dict[int, tuple[int, ...]]] = {
        32: (4, 4, 4, 4),
        64: (16, 8, 4, 2, 1),
        128: (16, 16, 8, 4, 2, 1),
    }
    sizes: ClassVar[tuple[int, ...]] = tuple(multiples)
    paper_spec: ClassVar[NetworkSpec] = NetworkSpec(32, 3, 128)

    def __init__(self, spec: NetworkSpec, options: Options) -> None:
        super().__init__(spec, options)
        self.assemble_blocks(spec.latent_dim, Conditioning(spec.num_classes, 0, options.epsilon))

    def inputs(self, latents: Latents, labels: Labels | None) -> tuple[Features, list[Condition]]:
        return latents, [Condition(labels)] * len(self.blocks)


@DISCRIMINATORS.register("sngan")
class SnganDiscriminator(ResidualDiscriminator):
    """Residual blocks -> sum over positions -> logit, with a projection onto the class."""

    class Options(base.Config):
        """`base_channels` after the first block of 64x64 images; 64 gives the published tables.

        `conditioning` "none" ignores the labels.
        """

        base_channels: PositiveInt = 64
        activation: Activation = "relu"
        conditioning: Literal["projection", "none"] = "projection"

    multiples: ClassVar[dict[int, tuple[int, ...]]] = {
        32: (2, 2, 2, 2),
        64: (1, 2, 4, 8, 16),
        128: (1, 2, 4, 8, 16, 16),
    }
    halvings: ClassVar[dict[int, int]] = {32: 2, 64: 5, 128: 5}
    wide = False
    sizes: ClassVar[tuple[int, ...]] = tuple(multiples)
    paper_spec: ClassVar[NetworkSpec] = NetworkSpec(32, 3, 128)
