"""DCGAN (Radford et al. 2015, arXiv 1511.06434): strided and transposed convolutions with batch norm.

The networks are symmetric (Shangguan et al., "Dog Image Generation using DCGAN", Fig. 5), with the same
number of layers and the same kernels. Channels double as the side halves. With classes they are a conditional
GAN (Mirza and Osindero 2014, arXiv 1411.1784): both get the label as input.

Self-attention and a split latent are optional. Iyengar, Pandey and Mehta, "Exploring Generative Adversarial
Networks", section 4, suggest them as next steps for their DCGAN.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar, Literal, cast

import torch
from pydantic import Field, NonNegativeInt, PositiveInt
from torch import nn

from kennel.config import base
from kennel.errors import RecipeError
from kennel.networks.base import DISCRIMINATORS, GENERATORS, Discriminator, Generator, NetworkSpec
from kennel.networks.class_bias import ClassBias
from kennel.networks.layers.activations import Activation, activation
from kennel.networks.layers.attention import NonLocalBlock
from kennel.networks.layers.checkerboard import CheckerboardFilter
from kennel.networks.layers.conv import Convolution, TransposedConvolution
from kennel.networks.layers.instances import InstanceVectors
from kennel.networks.layers.latent_chunks import chunk_width
from kennel.networks.layers.normalization import (
    Condition,
    ConditionalBatchNorm,
    Conditioning,
    CrossReplicaBatchNorm,
    apply_norm,
    required_labels,
)
from kennel.networks.layers.skip_excitation import SkipExcitation
from kennel.networks.residual import indices_of_side
from kennel.shapes import Features, Images, Labels, Latents

SIZES = (8, 16, 28, 32, 64, 128, 256)
SKIPPED = 2
"""The number of doublings that a skip-layer excitation spans."""


class DcganOptions(base.Config):
    """`base_channels` at half the image's side; they double as the side halves, up to `max_multiplier` times.

    `batch_norm` False omits normalization, for a critic with a gradient penalty. `attention` is the side of
    the maps with self-attention (SAGAN: Zhang et al. 2018, arXiv 1805.08318): an even one from 4 to half the
    image's side; 0 for none.
    """

    base_channels: PositiveInt = 64
    max_multiplier: PositiveInt = 16
    activation: Activation = "leaky_relu"
    batch_norm: bool = True
    attention: NonNegativeInt = 0


class DcganGeneratorOptions(DcganOptions):
    """Further options of the generator.

    `hierarchical`: the latent is split into a chunk for the stem and one for each batch norm. As in BigGAN
    (Brock et al. 2019, arXiv 1809.11096), gains and biases are linear maps of the chunk. False gives the
    latent to the stem only.

    `skip_excitation`: each map gates the channels of the map of four times its side (FastGAN: Liu et al.
    2021, arXiv 2101.04775).

    `checkerboard_filter`: after each transposed convolution, removes patterns that repeat every two pixels
    (see `CheckerboardFilter`).

    `shared_embedding`: the width of an embedding of the class for all layers, as in BigGAN. It is appended to
    the stem's input, and to the vector that gains and biases of the batch norms are linear maps of (the
    chunk, or the whole latent if it is not split). 0 gives the class to the stem only. With instances, their
    vectors replace the embedding.
    """

    hierarchical: bool = False
    skip_excitation: bool = False
    checkerboard_filter: bool = False
    shared_embedding: NonNegativeInt = 0


class DcganDiscriminatorOptions(DcganOptions):
    """Further options: `dropout` after every convolution except the first (0.5 stabilizes 128x128 images).

    `conditioning` "none" ignores the labels, for an auxiliary classifier.
    """

    dropout: float = Field(0.0, ge=0, lt=1)
    conditioning: Literal["label", "none"] = "label"


def sides(size: int) -> list[int]:
    """The sides of the feature maps from deep to shallow: 4, 8, ..., size/2 (from 7 for 28)."""
    deepest = 7 if size == 28 else 4
    levels = (size // deepest).bit_length() - 1
    return [deepest * 2**level for level in range(levels)]


def channels_at(side: int, size: int, options: DcganOptions) -> int:
    return options.base_channels * min(options.max_multiplier, size // (2 * side))


def attention_level(size: int, options: DcganOptions) -> int | None:
    """The index in `sides(size)` of the side with self-attention; None for none.

    Raises `RecipeError` for a side that no map has, or an odd one, which cannot be pooled.
    """
    maps = [(side, 0) for side in sides(size) if side % 2 == 0]
    indices_of_side(options.attention, maps, size)
    return sides(size).index(options.attention) if options.attention else None


@GENERATORS.register("dcgan")
class DcganGenerator(Generator):
    """Latent -> linear to the deepest map -> (batch norm, activation, transposed convolution)* -> Tanh.

    A skip-layer excitation or a non-local block follows the activation of its map.
    """

    Options = DcganGeneratorOptions
    sizes: ClassVar[tuple[int, ...]] = SIZES
    paper_spec: ClassVar[NetworkSpec] = NetworkSpec(64, 3, 100)
    conditional = "optional"
    takes_instances = True

    def __init__(self, spec: NetworkSpec, options: DcganGeneratorOptions) -> None:
        super().__init__(spec, options)
        maps = sides(spec.size)
        widths = [channels_at(side, spec.size, options) for side in maps]
        self.deepest = maps[0]
        self.slots = 1 + len(maps) if options.hierarchical else 1
        if options.hierarchical and not options.batch_norm:
            raise RecipeError(
                "generator.hierarchical=true needs batch norm, and generator.batch_norm is false: change one "
                "of the two"
            )
        chunk = chunk_width(spec, self.slots, "dcgan")
        embedded = spec.instance_dim or (options.shared_embedding if spec.num_classes else 0)
        # Equal to the usual first transposed convolution of a 1x1 map, but faster.
        self.stem = nn.Linear(chunk + embedded, widths[0] * self.deepest**2, bias=False)
        attending = attention_level(spec.size, options)
        conditioned = options.hierarchical or embedded
        conditioning = Conditioning(vector=chunk + embedded if conditioned else 0)
        layers: list[nn.Module] = []
        for level, width in enumerate(widths):
            if level:
                before = widths[level - 1]
                up = TransposedConvolution(before, width, 4, stride=2, padding=1, bias=not options.batch_norm)
                layers.append(up)
                if options.checkerboard_filter:
                    layers.append(CheckerboardFilter())
            if options.batch_norm:
                layers.append(conditioning.batch_norm(width))
            layers.append(activation(options.activation))
            if options.skip_excitation and level >= SKIPPED:
                layers.append(SkipExcitation(widths[level - SKIPPED], width))
            if level == attending:
                layers.append(NonLocalBlock(width))
        layers.append(TransposedConvolution(widths[-1], spec.channels, 4, stride=2, padding=1))
        if options.checkerboard_filter:
            layers.append(CheckerboardFilter())
        layers.append(nn.Tanh())
        self.layers = ConditionedLayers(*layers)
        self.embedding: nn.Module | None = None
        if spec.num_instances:
            self.embedding = InstanceVectors(spec.num_instances, embedded)
        elif embedded:
            self.embedding = nn.Embedding(spec.num_classes, embedded)
        if spec.num_classes and not embedded:
            self.label = ClassBias(spec, self.stem)

    def forward(self, latents: Latents, labels: Labels | None = None) -> Images:
        first, *further = latents.chunk(self.slots, 1)
        if self.embedding is not None:
            embedded = self.embedding(required_labels(labels, self.spec.num_labels))
            first, *further = (torch.cat([one, embedded], 1) for one in (first, *further))
            further = further or [first] * len(self.layers)
        flat = self.stem(first)
        if self.spec.num_classes and self.embedding is None:
            flat = flat + self.label(labels)
        # Channels last, the fast memory layout for convolutions.
        maps = flat.unflatten(1, (self.deepest, self.deepest, -1)).permute(0, 3, 1, 2)
        return cast(Images, self.layers(maps, further).float())


class ConditionedLayers(nn.Sequential):
    """A sequence of layers; each conditional batch norm gets the next vector.

    Each skip-layer excitation gets the map of a quarter of the side.
    """

    def forward(self, maps: torch.Tensor, vectors: Sequence[Latents] = ()) -> torch.Tensor:
        """Feature maps, and (batch, vector) for each conditional batch norm, in order."""
        remaining = iter(vectors)
        coarser: list[torch.Tensor] = []
        for layer in self:
            if isinstance(layer, TransposedConvolution):
                coarser.append(maps)
            if isinstance(layer, SkipExcitation):
                maps = layer(maps, coarser[-SKIPPED])
                continue
            conditional = isinstance(layer, ConditionalBatchNorm)
            maps = apply_norm(maps, layer, Condition(vector=next(remaining) if conditional else None))
        return maps


@DISCRIMINATORS.register("dcgan")
class DcganDiscriminator(Discriminator):
    """(4x4 stride-2 conv, batch norm except on the first, activation)* -> one logit from the deepest map."""

    Options = DcganDiscriminatorOptions
    sizes: ClassVar[tuple[int, ...]] = SIZES
    paper_spec: ClassVar[NetworkSpec] = NetworkSpec(64, 3, 100)
    conditional = "optional"
    feeds_labels = True

    def __init__(self, spec: NetworkSpec, options: DcganDiscriminatorOptions) -> None:
        super().__init__(spec, options)
        maps = sides(spec.size)[::-1]
        widths = [channels_at(side, spec.size, options) for side in maps]
        self.first = Convolution(spec.channels, widths[0], 4, stride=2, padding=1)
        attending = attention_level(spec.size, options)
        layers: list[nn.Module] = [activation(options.activation)]
        if attending == len(widths) - 1:
            layers.append(NonLocalBlock(widths[0]))
        for depth, (before, width) in enumerate(pairwise(widths), 1):
            layers.append(Convolution(before, width, 4, stride=2, padding=1, bias=not options.batch_norm))
            if options.batch_norm:
                layers.append(CrossReplicaBatchNorm(width))
            layers.append(activation(options.activation))
            if options.dropout:
                layers.append(nn.Dropout(options.dropout))
            if attending == len(widths) - 1 - depth:
                layers.append(NonLocalBlock(width))
        self.layers = nn.Sequential(*layers)
        self.head = nn.Linear(widths[-1] * maps[-1] ** 2, 1)
        if self.reads_labels:
            self.label = ClassBias(spec, self.first)

    def features(self, images: Images, labels: Labels | None = None) -> Features:
        shallowest = self.first(images)
        if self.reads_labels:
            shallowest = shallowest + self.label(labels)[:, :, None, None]
        deepest: torch.Tensor = self.layers(shallowest)
        return deepest.permute(0, 2, 3, 1).flatten(1)
