"""BigGAN-deep (Brock et al. 2019, arXiv 1809.11096, appendix B): twice the blocks, each with a bottleneck.

Shortcuts keep channels unchanged: the generator's drops some, the discriminator's appends new ones. Every
batch norm is conditioned on the whole latent and the embedding of the class.
"""

from itertools import pairwise
from typing import ClassVar, Literal, cast

import torch
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn

from kennel.config import base
from kennel.networks.base import DISCRIMINATORS, GENERATORS, NetworkSpec
from kennel.networks.biggan import ATTENTION, DISCRIMINATOR_CHANNELS, GENERATOR_CHANNELS, HALVINGS
from kennel.networks.layers.activations import Activation, activation
from kennel.networks.layers.conv import Convolution, downsample, upsample
from kennel.networks.layers.normalization import Condition, Conditioning, apply_norm, required_labels
from kennel.networks.residual import (
    STEM_SIDE,
    ProjectionDiscriminator,
    Residual,
    ResidualGenerator,
    out_of_place_activation,
)
from kennel.shapes import Features, Labels, Latents

BOTTLENECK = 4
"""Hidden channels are the maximum of in and out channels, divided by this."""


class DeepGeneratorBlock(Residual):
    """1x1 to a quarter of the channels, 3x3, 3x3, 1x1, each after batch norm and activation."""

    def __init__(
        self, in_channels: int, out_channels: int, conditioning: Conditioning, name: Activation, doubles: bool
    ) -> None:
        super().__init__()
        hidden = max(1, in_channels // BOTTLENECK)
        self.width, self.doubles = out_channels, doubles
        widths, kernels = (in_channels, hidden, hidden, hidden, out_channels), (1, 3, 3, 1)
        self.norms = nn.ModuleList(conditioning.batch_norm(width) for width in widths[:-1])
        self.activations = nn.ModuleList(activation(name) for _ in kernels)
        self.convolutions = nn.ModuleList(
            Convolution(*pair, kernel, padding=kernel // 2)
            for pair, kernel in zip(pairwise(widths), kernels, strict=True)
        )

    def branch(self) -> list[nn.Module]:
        return list(self.convolutions)

    def forward(self, images: Tensor, condition: Condition) -> Tensor:
        """(batch, in_channels, side, side) to (batch, out_channels, side, side), or twice that side."""
        hidden = images
        for index, (norm, activate, convolve) in enumerate(
            zip(self.norms, self.activations, self.convolutions, strict=True)
        ):
            hidden = activate(apply_norm(hidden, norm, condition))
            assert isinstance(convolve, Convolution)
            doubles = self.doubles and index == 1
            hidden = convolve.forward_upsampled(hidden) if doubles else convolve(hidden)
        kept = images[:, : self.width]
        return hidden + (upsample(kept) if self.doubles else kept)


class DeepDiscriminatorBlock(Residual):
    """1x1 to a quarter of the channels, 3x3, 3x3, 1x1, each after an activation.

    The shortcut keeps all channels and appends new ones by a 1x1 convolution.
    """

    def __init__(self, in_channels: int, out_channels: int, name: Activation, halves: bool) -> None:
        super().__init__()
        hidden = max(1, out_channels // BOTTLENECK)
        self.halves = halves
        self.layers = nn.Sequential(
            out_of_place_activation(name),
            Convolution(in_channels, hidden, 1),
            activation(name),
            Convolution(hidden, hidden, 3, padding=1),
            activation(name),
            Convolution(hidden, hidden, 3, padding=1),
            activation(name),
        )
        self.widen = Convolution(hidden, out_channels, 1)
        new = out_channels - in_channels
        self.appended = Convolution(in_channels, new, 1) if new > 0 else None

    def branch(self) -> list[nn.Module]:
        return [*(layer for layer in self.layers if isinstance(layer, Convolution)), self.widen]

    def forward(self, images: Tensor) -> Tensor:
        """(batch, in_channels, side, side) to (batch, out_channels, side, side), or half that side."""
        hidden = self.layers(images)
        if self.halves:
            hidden, images = downsample(hidden), downsample(images)
        if self.appended is not None:
            images = torch.cat([images, self.appended(images)], 1)
        return cast(Tensor, self.widen(hidden) + images)


@GENERATORS.register("biggan_deep")
class BigganDeepGenerator(ResidualGenerator):
    """Latent and class -> 4x4 -> `depth` bottleneck blocks at each resolution -> image."""

    class Options(base.Config):
        """`base_channels` multiplies every number of channels.

        - `depth`: blocks at each resolution; the last one doubles the side.
        - `shared_embedding`: the width of the embedding of the class.
        - `attention`: the side of the maps with self-attention, 0 for none; the default is 64 for 128x128 and
          256x256 images, 32 for 64x64, none for 32x32.
        - `epsilon` of batch norm: 1e-5 as in the authors' PyTorch code, 1e-4 in the paper.
        """

        base_channels: PositiveInt = 128
        depth: PositiveInt = 2
        shared_embedding: PositiveInt = 128
        attention: NonNegativeInt | None = None
        activation: Activation = "relu"
        epsilon: PositiveFloat = 1e-5

    multiples = GENERATOR_CHANNELS
    default_attention = ATTENTION
    sizes: ClassVar[tuple[int, ...]] = tuple(GENERATOR_CHANNELS)
    paper_spec: ClassVar[NetworkSpec] = NetworkSpec(128, 3, 128, 1000)

    def __init__(self, spec: NetworkSpec, options: Options) -> None:
        super().__init__(spec, options)
        vector = spec.latent_dim
        if spec.num_classes:
            self.embedding = nn.Embedding(spec.num_classes, options.shared_embedding)
            vector += options.shared_embedding
        conditioning = Conditioning(0, vector, options.epsilon)
        blocks, maps = [], []
        for level, (width, next_width) in enumerate(pairwise(self.widths)):
            for last in [False] * (options.depth - 1) + [True]:
                after = next_width if last else width
                blocks.append(DeepGeneratorBlock(width, after, conditioning, options.activation, last))
                maps.append((STEM_SIDE * 2 ** (level + last), after))
        self.assemble(vector, blocks, maps)

    def inputs(self, latents: Latents, labels: Labels | None) -> tuple[Features, list[Condition]]:
        vector = latents
        if self.spec.num_classes:
            embedded = self.embedding(required_labels(labels, self.spec.num_classes))
            vector = torch.cat([latents, embedded], 1)
        return vector, [Condition(vector=vector)] * len(self.blocks)


@DISCRIMINATORS.register("biggan_deep")
class BigganDeepDiscriminator(ProjectionDiscriminator):
    """3x3 convolution -> `depth` bottleneck blocks at each resolution -> sum over positions -> logit."""

    class Options(base.Config):
        """`base_channels` multiplies every number of channels; `attention` is as in the generator.

        The first of the `depth` blocks at each resolution halves the side. `conditioning` "none" ignores the
        labels.
        """

        base_channels: PositiveInt = 128
        depth: PositiveInt = 2
        attention: NonNegativeInt | None = None
        activation: Activation = "relu"
        conditioning: Literal["projection", "none"] = "projection"

    multiples = DISCRIMINATOR_CHANNELS
    default_attention = ATTENTION
    sizes: ClassVar[tuple[int, ...]] = tuple(DISCRIMINATOR_CHANNELS)
    paper_spec: ClassVar[NetworkSpec] = NetworkSpec(128, 3, 128, 1000)

    def __init__(self, spec: NetworkSpec, options: Options) -> None:
        super().__init__(spec, options)
        widths = self.widths
        layers: list[nn.Module] = [Convolution(spec.channels, widths[0], 3, padding=1)]
        maps = [(spec.size, widths[0])]
        for level, (width, next_width) in enumerate(pairwise(widths)):
            for first in [True] + [False] * (options.depth - 1):
                halves = first and level < HALVINGS[spec.size]
                before = width if first else next_width
                layers.append(DeepDiscriminatorBlock(before, next_width, options.activation, halves))
                maps.append((maps[-1][0] // (2 if halves else 1), next_width))
        self.assemble(layers, maps)
