"""SNGAN's residual networks (Miyato et al. 2018, arXiv 1802.05957) as its authors published them.

With classes they are those of Miyato and Koyama (2018, arXiv 1802.05637): gains and biases of batch norm per
class in the generator, a projection in the discriminator. Spectral normalization is a technique.
"""

from typing import Any, ClassVar, Literal

from pydantic import PositiveFloat, PositiveInt

from kennel.config import base
from kennel.networks.base import DISCRIMINATORS, GENERATORS, NetworkSpec
from kennel.networks.layers.activations import Activation
from kennel.networks.layers.normalization import Condition, Conditioning
from kennel.networks.residual import (
    ProjectionDiscriminator,
    ResidualGenerator,
    discriminator_blocks,
    discriminator_maps,
    generator_blocks,
    generator_maps,
)
from kennel.shapes import Features, Labels, Latents

# Multiples of `base_channels`. Generator: of the stem and after each block. Discriminator: after each block.
GENERATOR_CHANNELS = {32: (4, 4, 4, 4), 64: (16, 8, 4, 2, 1), 128: (16, 16, 8, 4, 2, 1)}
DISCRIMINATOR_CHANNELS = {32: (2, 2, 2, 2), 64: (1, 2, 4, 8, 16), 128: (1, 2, 4, 8, 16, 16)}
HALVINGS = {32: 2, 64: 5, 128: 5}
"""The number of the discriminator's first blocks that halve the side."""


def attention_side(options: Any, default: dict[int, int], size: int) -> int:
    """The side of self-attention: the option, or the default of the image size; 0 for none."""
    side: int | None = getattr(options, "attention", None)
    return default.get(size, 0) if side is None else side


@GENERATORS.register("sngan")
class SnganGenerator(ResidualGenerator):
    """Latent -> 4x4 -> residual blocks -> image; the blocks' batch norms have gains and biases per class."""

    class Options(base.Config):
        """`base_channels` in the last block of 64x64 images; 64 gives the published tables at each size."""

        base_channels: PositiveInt = 64
        activation: Activation = "relu"
        epsilon: PositiveFloat = 2e-5

    sizes: ClassVar[tuple[int, ...]] = tuple(GENERATOR_CHANNELS)
    paper_spec: ClassVar[NetworkSpec] = NetworkSpec(32, 3, 128)
    default_attention: ClassVar[dict[int, int]] = {}

    def __init__(self, spec: NetworkSpec, options: Options) -> None:
        super().__init__(spec, options)
        widths = [options.base_channels * multiple for multiple in GENERATOR_CHANNELS[spec.size]]
        by_class = [Conditioning(spec.num_classes, 0, options.epsilon)] * (len(widths) - 1)
        blocks = generator_blocks(widths, by_class, options.activation)
        attention = attention_side(options, self.default_attention, spec.size)
        self.assemble(spec.latent_dim, widths[0], blocks, generator_maps(widths), attention)

    def inputs(self, latents: Latents, labels: Labels | None) -> tuple[Features, list[Condition]]:
        """The latent for the stem, the label for each block."""
        return latents, [Condition(labels)] * len(self.blocks)


@DISCRIMINATORS.register("sngan")
class SnganDiscriminator(ProjectionDiscriminator):
    """Residual blocks -> sum over positions -> logit, with a projection onto the class."""

    class Options(base.Config):
        """`base_channels` after the first block of 64x64 images; 64 gives the published tables.

        `conditioning` "none" ignores the labels.
        """

        base_channels: PositiveInt = 64
        activation: Activation = "relu"
        conditioning: Literal["projection", "none"] = "projection"

    sizes: ClassVar[tuple[int, ...]] = tuple(DISCRIMINATOR_CHANNELS)
    paper_spec: ClassVar[NetworkSpec] = NetworkSpec(32, 3, 128)
    wide: ClassVar[bool] = False
    default_attention: ClassVar[dict[int, int]] = {}

    def __init__(self, spec: NetworkSpec, options: Options) -> None:
        super().__init__(spec, options)
        widths = [options.base_channels * multiple for multiple in DISCRIMINATOR_CHANNELS[spec.size]]
        halvings = HALVINGS[spec.size]
        blocks = discriminator_blocks(spec.channels, widths, halvings, self.wide, options.activation)
        attention = attention_side(options, self.default_attention, spec.size)
        self.assemble(blocks, discriminator_maps(spec.size, widths, halvings), attention)
