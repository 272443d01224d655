"""BigGAN-deep (Brock et al. 2019, arXiv 1809.11096, appendix B): twice the blocks, each with a bottleneck.

Shortcuts keep what they carry: the generator's drops channels, the discriminator's appends new ones. Every
batch norm is told the whole latent and the embedding of the class.
"""

from itertools import pairwise
from typing import ClassVar, Literal, cast

import torch
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn

from kennel.config import base
from kennel.networks.base import DISCRIMINATORS, GENERATORS, NetworkSpec
from kennel.networks.biggan import DISCRIMINATOR_CHANNELS, GENERATOR_CHANNELS, HALVINGS, side_of
from kennel.networks.layers.activations import Activation, activation
from kennel.networks.layers.conv import Convolution, doubled, halved
from kennel.networks.layers.normalization import Condition, Conditioning, given, normalised
from kennel.networks.residual import (
    STEM_SIDE,
    ProjectionDiscriminator,
    Residual,
    ResidualGenerator,
    sparing_activation,
)
from kennel.shapes import Features, Labels, Latents

BOTTLENECK = 4
"""A block's hidden channels are a quarter of the more of its inputs and outputs."""


class DeepGeneratorBlock(Residual):
    """1x1 to a quarter of the channels, 3x3, 3x3, 1x1, each after batch norm and activation."""

    def __init__(
        self, width: int, wider: int, conditioning: Conditioning, name: Activation, doubles: bool
    ) -> None:
        """From `width` to `wider` channels, no more than before."""
        super().__init__()
        narrow = max(1, width // BOTTLENECK)
        self.width, self.doubles = wider, doubles
        widths, kernels = (width, narrow, narrow, narrow, wider), (1, 3, 3, 1)
        self.norms = nn.ModuleList(conditioning.batch_norm(one) for one in widths[:-1])
        self.activations = nn.ModuleList(activation(name) for _ in kernels)
        self.convolutions = nn.ModuleList(
            Convolution(one, next_one, kernel, padding=kernel // 2)
            for (one, next_one), kernel in zip(pairwise(widths), kernels, strict=True)
        )

    def branch(self) -> list[nn.Module]:
        """Its four convolutions."""
        return list(self.convolutions)

    def forward(self, images: Tensor, condition: Condition) -> Tensor:
        """(batch, width, side, side) to (batch, wider, side, side), or twice that side."""
        hidden = images
        for index, (norm, activate, convolve) in enumerate(
            zip(self.norms, self.activations, self.convolutions, strict=True)
        ):
            hidden = activate(normalised(hidden, norm, condition))
            assert isinstance(convolve, Convolution)
            doubles = self.doubles and index == 1
            hidden = convolve.on_doubled(hidden) if doubles else convolve(hidden)
        kept = images[:, : self.width]
        return hidden + (doubled(kept) if self.doubles else kept)


class DeepDiscriminatorBlock(Residual):
    """1x1 to a quarter of the channels, 3x3, 3x3, 1x1, each after an activation.

    The shortcut carries every channel on and appends the missing ones by a 1x1 convolution.
    """

    def __init__(self, width: int, wider: int, name: Activation, halves: bool) -> None:
        """From `width` to `wider` channels, no fewer than before."""
        super().__init__()
        narrow = max(1, wider // BOTTLENECK)
        self.halves = halves
        self.layers = nn.Sequential(
            sparing_activation(name),
            Convolution(width, narrow, 1),
            activation(name),
            Convolution(narrow, narrow, 3, padding=1),
            activation(name),
            Convolution(narrow, narrow, 3, padding=1),
            activation(name),
        )
        self.widen = Convolution(narrow, wider, 1)
        self.appended = Convolution(width, wider - width, 1) if wider > width else None

    def branch(self) -> list[nn.Module]:
        """Its four convolutions."""
        return [*(layer for layer in self.layers if isinstance(layer, Convolution)), self.widen]

    def forward(self, images: Tensor) -> Tensor:
        """(batch, width, side, side) to (batch, wider, side, side), or half that side."""
        hidden = self.layers(images)
        if self.halves:
            hidden, images = halved(hidden), halved(images)
        if self.appended is not None:
            images = torch.cat([images, self.appended(images)], 1)
        return cast(Tensor, self.widen(hidden) + images)


@GENERATORS.register("biggan_deep")
class BigganDeepGenerator(ResidualGenerator):
    """Latent and class -> 4x4 -> `depth` bottleneck blocks at each resolution -> image."""

    class Options(base.Config):
        """`width` multiplies every number of channels.

        - `depth`: blocks at each resolution, the last of which doubles the side.
        - `shared_embedding`: the width of the embedding of the class.
        - `attention`: the side of the maps that attend to themselves, 0 for none; left out it is 64 for
          128x128 and 256x256 images, 32 for 64x64, none for 32x32.
        - `epsilon` of batch norm: 1e-5 as in the authors' PyTorch code, 1e-4 in the paper.
        """

        base_channels: PositiveInt = 128
        depth: PositiveInt = 2
        shared_embedding: PositiveInt = 128
        attention: NonNegativeInt | None = None
        activation: Activation = "relu"
        epsilon: PositiveFloat = 1e-5

    sizes: ClassVar[tuple[int, ...]] = tuple(GENERATOR_CHANNELS)
    paper_spec: ClassVar[NetworkSpec] = NetworkSpec(128, 3, 128, 1000)

    def __init__(self, spec: NetworkSpec, options: Options) -> None:
        """Builds the layers for `setting`."""
        super().__init__(spec, options)
        widths = [options.base_channels * multiple for multiple in GENERATOR_CHANNELS[spec.size]]
        told = spec.latent_dim
        if spec.num_classes:
            self.embedding = nn.Embedding(spec.num_classes, options.shared_embedding)
            told += options.shared_embedding
        conditioning = Conditioning(0, told, options.epsilon)
        blocks, maps = [], []
        for level, (width, narrower) in enumerate(pairwise(widths)):
            for last in [False] * (options.depth - 1) + [True]:
                after = narrower if last else width
                blocks.append(DeepGeneratorBlock(width, after, conditioning, options.activation, last))
                maps.append((STEM_SIDE * 2 ** (level + last), after))
        self.assemble(told, widths[0], blocks, maps, side_of(options.attention, spec.size))

    def inputs(self, latents: Latents, labels: Labels | None) -> tuple[Features, list[Condition]]:
        """The whole latent and the embedding of the label, for the stem and for every block."""
        told = latents
        if self.spec.num_classes:
            told = torch.cat([latents, self.embedding(given(labels, self.spec.num_classes))], 1)
        return told, [Condition(vector=told)] * len(self.blocks)


@DISCRIMINATORS.register("biggan_deep")
class BigganDeepDiscriminator(ProjectionDiscriminator):
    """3x3 convolution -> `depth` bottleneck blocks at each resolution -> sum over positions -> logit."""

    class Options(base.Config):
        """`width` multiplies every number of channels; `depth` and `attention` are as in the generator.

        The first of the `depth` blocks halves the side. `conditioning` "none" keeps the labels from the
        discriminator.
        """

        base_channels: PositiveInt = 128
        depth: PositiveInt = 2
        attention: NonNegativeInt | None = None
        activation: Activation = "relu"
        conditioning: Literal["projection", "none"] = "projection"

    sizes: ClassVar[tuple[int, ...]] = tuple(DISCRIMINATOR_CHANNELS)
    paper_spec: ClassVar[NetworkSpec] = NetworkSpec(128, 3, 128, 1000)

    def __init__(self, spec: NetworkSpec, options: Options) -> None:
        """Builds the layers for `setting`."""
        super().__init__(spec, options)
        widths = [options.base_channels * multiple for multiple in DISCRIMINATOR_CHANNELS[spec.size]]
        layers: list[nn.Module] = [Convolution(spec.channels, widths[0], 3, padding=1)]
        maps = [(spec.size, widths[0])]
        for level, (width, wider) in enumerate(pairwise(widths)):
            for first in [True] + [False] * (options.depth - 1):
                halves = first and level < HALVINGS[spec.size]
                before = width if first else wider
                layers.append(DeepDiscriminatorBlock(before, wider, options.activation, halves))
                maps.append((maps[-1][0] // (2 if halves else 1), wider))
        self.assemble(layers, maps, side_of(options.attention, spec.size))
