"""BigGAN (Brock et al. 2019, arXiv 1809.11096): a larger SAGAN, with a shared embedding and a split latent.

Its spectral normalization, orthogonal initialization and moving average are techniques.
"""

from typing import ClassVar, Literal

import torch
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt
from torch import nn

from kennel.config import base
from kennel.networks.base import DISCRIMINATORS, GENERATORS, NetworkSpec
from kennel.networks.layers.activations import Activation
from kennel.networks.layers.latent_chunks import chunk_width
from kennel.networks.layers.normalization import Condition, Conditioning, required_labels
from kennel.networks.residual import ResidualDiscriminator, ResidualGenerator
from kennel.shapes import Features, Labels, Latents

# Multiples of `base_channels`. Generator: of the stem and after each block (BigGAN-deep: each resolution).
# Discriminator: after each block.
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
"""The number of the discriminator's first blocks (BigGAN-deep: resolutions) that halve the side."""
ATTENTION = {32: 0, 64: 32, 128: 64, 256: 64}
"""The default side of self-attention, by image size."""


@GENERATORS.register("biggan")
class BigganGenerator(ResidualGenerator):
    """First chunk of the latent -> 4x4 -> residual blocks, each with its own chunk -> image."""

    class Options(base.Config):
        """`base_channels` multiplies every number of channels (64; the paper's largest at 128x128 have 96).

        - `shared_embedding`: the width of an embedding of the class, from which gain and bias of every batch
          norm are linear maps; 0 gives each batch norm its own table.
        - `hierarchical`: the latent is split into a chunk for the stem and one for each block's batch norms;
          False gives it to the stem only.
        - `attention`: the side of the maps with self-attention, 0 for none; the default is 64 for 128x128 and
          256x256 images, 32 for 64x64, none for 32x32.
        - `epsilon` of batch norm: 1e-5 as in the authors' PyTorch code, 1e-4 in the paper.
        """

        base_channels: PositiveInt = 64
        shared_embedding: NonNegativeInt = 128
        hierarchical: bool = True
        attention: NonNegativeInt | None = None
        activation: Activation = "relu"
        epsilon: PositiveFloat = 1e-5

    multiples = GENERATOR_CHANNELS
    default_attention = ATTENTION
    sizes: ClassVar[tuple[int, ...]] = tuple(GENERATOR_CHANNELS)
    paper_spec: ClassVar[NetworkSpec] = NetworkSpec(128, 3, 120, 1000)

    def __init__(self, spec: NetworkSpec, options: Options) -> None:
        super().__init__(spec, options)
        self.slots = len(self.widths) if options.hierarchical else 1
        chunk = chunk_width(spec, self.slots, "biggan")
        embedding = options.shared_embedding if spec.num_classes else 0
        if embedding:
            self.embedding = nn.Embedding(spec.num_classes, embedding)
        self.tables = 0 if embedding else spec.num_classes
        vector = embedding + (chunk if options.hierarchical else 0)
        self.assemble_blocks(chunk, Conditioning(self.tables, vector, options.epsilon))

    def inputs(self, latents: Latents, labels: Labels | None) -> tuple[Features, list[Condition]]:
        """The first chunk for the stem; for each block the label's embedding and the next chunk."""
        first, *further = latents.chunk(self.slots, 1)
        classes = self.spec.num_classes
        embedded = []
        if classes and self.options.shared_embedding:
            embedded = [self.embedding(required_labels(labels, classes))]
        parts = [[*embedded, *further[index : index + 1]] for index in range(len(self.blocks))]
        vectors = [torch.cat(of_block, 1) if of_block else None for of_block in parts]
        return first, [Condition(labels if self.tables else None, vector) for vector in vectors]


@DISCRIMINATORS.register("biggan")
class BigganDiscriminator(ResidualDiscriminator):
    """Residual blocks -> sum over positions -> logit, with a projection onto the class."""

    class Options(base.Config):
        """`base_channels` multiplies every number of channels; `attention` is as in the generator.

        `conditioning` "none" ignores the labels.
        """

        base_channels: PositiveInt = 64
        attention: NonNegativeInt | None = None
        activation: Activation = "relu"
        conditioning: Literal["projection", "none"] = "projection"

    multiples = DISCRIMINATOR_CHANNELS
    halvings = HALVINGS
    default_attention = ATTENTION
    sizes: ClassVar[tuple[int, ...]] = tuple(DISCRIMINATOR_CHANNELS)
    paper_spec: ClassVar[NetworkSpec] = NetworkSpec(128, 3, 120, 1000)
