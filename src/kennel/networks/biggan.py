"""BigGAN (Brock et al. 2019, arXiv 1809.11096): SAGAN widened, with a shared embedding and a split latent.

Spectral normalization, orthogonal initialization and the moving average of the generator's weights, which
belong to it, are techniques.
"""

from typing import ClassVar, Literal

import torch
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt
from torch import nn

from kennel.config import base
from kennel.networks.base import DISCRIMINATORS, GENERATORS, NetworkSpec
from kennel.networks.layers.activations import Activation
from kennel.networks.layers.latent_chunks import chunk_width
from kennel.networks.layers.normalization import Condition, Conditioning, given
from kennel.networks.residual import (
    ProjectionDiscriminator,
    ResidualGenerator,
    discriminator_blocks,
    discriminator_maps,
    generator_blocks,
    generator_maps,
)
from kennel.shapes import Features, Labels, Latents

# Channels, as multiples of `base_channels`: of the stem and after each block (of BigGAN-deep: resolution);
# after each block.
GENERATOR_CHANNELS = {
    32: (4, 4, 4, 4),
    64: (16, 16, 8, 4, 2),
    128: (16, 16, 8, 4, 2, 1),
    256: (16, 16, 8, 8, 4, 2, 1),
}
DISCRIMINATOR_CHANNELS = {
    32: (4, 4, 4, 4),
    64: (1, 2, 4, 8, 16),
    128: (1, 2, 4, 8, 16, 16),
    256: (1, 2, 4, 8, 8, 16, 16),
}
HALVINGS = {32: 2, 64: 4, 128: 5, 256: 6}
"""How many of the discriminator's blocks (of BigGAN-deep: resolutions) halve the side, from the first on."""
ATTENTION = {32: 0, 64: 32, 128: 64, 256: 64}
"""The side of the maps that attend to themselves, by the size of the images."""


def side_of(attention: int | None, size: int) -> int:
    """What the option says, and otherwise what the size says."""
    return ATTENTION[size] if attention is None else attention


@GENERATORS.register("biggan")
class BigganGenerator(ResidualGenerator):
    """First chunk of the latent -> 4x4 -> residual blocks, each with a chunk of its own -> image."""

    class Options(base.Config):
        """`width` multiplies every number of channels (64; the paper's largest at 128x128 have 96).

        - `shared_embedding`: the width of one embedding of the class, from which every batch norm's gain and
          bias are linear maps; 0 gives each batch norm a table of its own instead.
        - `hierarchical`: the latent is split in a chunk for the stem and one for each block's batch norms;
          False gives it whole to the stem.
        - `attention`: the side of the maps that attend to themselves, 0 for none; left out it is 64 for
          128x128 and 256x256 images, 32 for 64x64, none for 32x32.
        - `epsilon` of batch norm: 1e-5 as in the authors' PyTorch code, 1e-4 in the paper.
        """

        base_channels: PositiveInt = 64
        shared_embedding: NonNegativeInt = 128
        hierarchical: bool = True
        attention: NonNegativeInt | None = None
        activation: Activation = "relu"
        epsilon: PositiveFloat = 1e-5

    sizes: ClassVar[tuple[int, ...]] = tuple(GENERATOR_CHANNELS)
    paper_spec: ClassVar[NetworkSpec] = NetworkSpec(128, 3, 120, 1000)

    def __init__(self, spec: NetworkSpec, options: Options) -> None:
        """Builds the layers for `setting`; a latent that cannot be split evenly is a `RecipeError`."""
        super().__init__(spec, options)
        widths = [options.base_channels * multiple for multiple in GENERATOR_CHANNELS[spec.size]]
        self.slots = len(widths) if options.hierarchical else 1
        chunk = chunk_width(spec, self.slots, "biggan")
        embedding = options.shared_embedding if spec.num_classes else 0
        if embedding:
            self.embedding = nn.Embedding(spec.num_classes, embedding)
        self.tables = 0 if embedding else spec.num_classes
        vector = embedding + (chunk if options.hierarchical else 0)
        conditioning = Conditioning(self.tables, vector, options.epsilon)
        blocks = generator_blocks(widths, [conditioning] * (len(widths) - 1), options.activation)
        attention = side_of(options.attention, spec.size)
        self.assemble(chunk, widths[0], blocks, generator_maps(widths), attention)

    def inputs(self, latents: Latents, labels: Labels | None) -> tuple[Features, list[Condition]]:
        """The first chunk for the stem; for each block the embedding of the label and a further chunk."""
        first, *further = latents.chunk(self.slots, 1)
        classes, options = self.spec.num_classes, self.options
        embedded = [self.embedding(given(labels, classes))] if classes and options.shared_embedding else []
        parts = [[*embedded, *further[index : index + 1]] for index in range(len(self.blocks))]
        vectors = [torch.cat(of_block, 1) if of_block else None for of_block in parts]
        return first, [Condition(labels if self.tables else None, vector) for vector in vectors]


@DISCRIMINATORS.register("biggan")
class BigganDiscriminator(ProjectionDiscriminator):
    """Residual blocks -> sum over positions -> logit, with a projection onto the class."""

    class Options(base.Config):
        """`width` multiplies every number of channels; `attention` is as in the generator.

        `conditioning` "none" keeps the labels from the discriminator.
        """

        base_channels: PositiveInt = 64
        attention: NonNegativeInt | None = None
        activation: Activation = "relu"
        conditioning: Literal["projection", "none"] = "projection"

    sizes: ClassVar[tuple[int, ...]] = tuple(DISCRIMINATOR_CHANNELS)
    paper_spec: ClassVar[NetworkSpec] = NetworkSpec(128, 3, 120, 1000)

    def __init__(self, spec: NetworkSpec, options: Options) -> None:
        """Builds the layers for `setting`."""
        super().__init__(spec, options)
        widths = [options.base_channels * multiple for multiple in DISCRIMINATOR_CHANNELS[spec.size]]
        halvings = HALVINGS[spec.size]
        blocks = discriminator_blocks(spec.channels, widths, halvings, True, options.activation)
        maps = discriminator_maps(spec.size, widths, halvings)
        self.assemble(blocks, maps, side_of(options.attention, spec.size))
