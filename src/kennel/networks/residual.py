"""The parts of residual networks (SNGAN, SAGAN, BigGAN, BigGAN-deep).

A generator is a linear stem to a 4x4 map, residual blocks that double the side, and batch norm, activation,
convolution, Tanh. A discriminator is residual blocks that halve the side, an activation, the sum over
positions, and a linear head, with a projection if there are classes.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn

from kennel.errors import RecipeError
from kennel.networks.base import Discriminator, Generator, Network, NetworkSpec
from kennel.networks.layers.activations import Activation, activation
from kennel.networks.layers.attention import NonLocalBlock
from kennel.networks.layers.conv import Convolution, downsample, upsample
from kennel.networks.layers.normalization import Condition, Conditioning, apply_norm, required_labels
from kennel.shapes import Features, Images, Labels, Latents, Logits

STEM_SIDE = 4


def out_of_place_activation(name: Activation) -> nn.Module:
    """An activation that keeps its input, which a shortcut needs too."""
    layer: Any = activation(name)
    if hasattr(layer, "inplace"):
        layer.inplace = False
    return cast(nn.Module, layer)


class Residual(nn.Module):
    """A block whose output is the sum of a shortcut and a branch."""

    def branch(self) -> list[nn.Module]:
        """The convolutions of the branch, without the shortcut's."""
        raise NotImplementedError  # abstract


class GeneratorBlock(Residual):
    """Doubles the side. After Miyato et al. 2018 (arXiv 1802.05957, appendix B), with conditions.

    batch norm, activation, upsampling, 3x3 convolution, batch norm, activation, 3x3 convolution
    plus the shortcut: 1x1 convolution, upsampling
    """

    def __init__(
        self, in_channels: int, out_channels: int, conditioning: Conditioning, name: Activation
    ) -> None:
        super().__init__()
        self.first_norm = conditioning.batch_norm(in_channels)
        self.first_activation = activation(name)
        self.first = Convolution(in_channels, out_channels, 3, padding=1)
        self.second_norm = conditioning.batch_norm(out_channels)
        self.second_activation = activation(name)
        self.second = Convolution(out_channels, out_channels, 3, padding=1)
        self.shortcut = Convolution(in_channels, out_channels, 1)

    def branch(self) -> list[nn.Module]:
        return [self.first, self.second]

    def forward(self, images: Tensor, condition: Condition) -> Tensor:
        """(batch, in_channels, side, side) to (batch, out_channels, 2 side, 2 side)."""
        hidden = self.first_activation(apply_norm(images, self.first_norm, condition))
        hidden = self.first.forward_upsampled(hidden)
        hidden = self.second_activation(apply_norm(hidden, self.second_norm, condition))
        # Upsampling commutes with a 1x1 convolution; after it the convolution is four times as cheap.
        return cast(Tensor, self.second(hidden) + upsample(self.shortcut(images)))


class DiscriminatorBlock(Residual):
    """Halves the side, or keeps it. After Miyato et al. 2018 (arXiv 1802.05957, appendix B).

        activation, 3x3 convolution, activation, 3x3 convolution, 2x2 mean
        plus the shortcut: 2x2 mean, 1x1 convolution

    The first block has no activation before its first convolution. A block that keeps side and channels has
    no convolution in its shortcut.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        hidden: int,
        name: Activation,
        halves: bool,
        first: bool,
    ) -> None:
        """`hidden` is the number of channels between the two 3x3 convolutions."""
        super().__init__()
        self.halves = halves
        self.first_activation = nn.Identity() if first else out_of_place_activation(name)
        self.first = Convolution(in_channels, hidden, 3, padding=1)
        self.second_activation = activation(name)
        self.second = Convolution(hidden, out_channels, 3, padding=1)
        plain = in_channels == out_channels and not halves
        self.shortcut = nn.Identity() if plain else Convolution(in_channels, out_channels, 1)

    def branch(self) -> list[nn.Module]:
        return [self.first, self.second]

    def forward(self, images: Tensor) -> Tensor:
        """(batch, in_channels, side, side) to (batch, out_channels, side, side), or half that side."""
        hidden = self.second_activation(self.first(self.first_activation(images)))
        if not self.halves:
            return cast(Tensor, self.second(hidden) + self.shortcut(images))
        # The mean commutes with the 1x1 convolution; before it the convolution is four times as cheap.
        return cast(Tensor, self.second.forward_downsampled(hidden) + self.shortcut(downsample(images)))


class ResidualNetwork(Network):
    """Options and tables that generators and discriminators have in common."""

    conditional: ClassVar[Literal["optional", "never"]] = "optional"
    multiples: ClassVar[Mapping[int, tuple[int, ...]]]
    """Channels as multiples of `base_channels`, by image size."""
    default_attention: ClassVar[Mapping[int, int]] = {}
    """The default side of self-attention, by image size; absent or 0 for none."""

    @property
    def widths(self) -> list[int]:
        """The channels of this network."""
        return [self.options.base_channels * multiple for multiple in self.multiples[self.spec.size]]

    def attending(self, maps: Sequence[tuple[int, int]]) -> list[int]:
        """The indices in `maps` (side, channels) of the side with self-attention."""
        side = getattr(self.options, "attention", None)
        if side is None:
            side = self.default_attention.get(self.spec.size, 0)
        return indices_of_side(side, maps, self.spec.size)


class ResidualGenerator(ResidualNetwork, Generator):
    """Stem, blocks, and batch norm - activation - convolution - Tanh; the last batch norm is unconditional.

    `multiples` are those of the stem and after each block. A subclass calls `assemble`, or `assemble_blocks`
    for `GeneratorBlock`s, and implements `inputs`.
    """

    def assemble(
        self, stem_inputs: int, blocks: Iterable[nn.Module], maps: Sequence[tuple[int, int]]
    ) -> None:
        """Builds the layers; `maps` are the side and the channels after each block.

        A non-local block follows the first block with the side of self-attention.
        """
        width = maps[-1][1]
        self.stem = nn.Linear(stem_inputs, self.widths[0] * STEM_SIDE**2)
        self.blocks = nn.ModuleList(blocks)
        self.output = nn.Sequential(
            Conditioning(epsilon=self.options.epsilon).batch_norm(width),
            activation(self.options.activation),
            Convolution(width, self.spec.channels, 3, padding=1),
            nn.Tanh(),
        )
        self.attends_after = min(self.attending(maps), default=None)
        if self.attends_after is not None:
            self.attention = NonLocalBlock(maps[self.attends_after][1])

    def assemble_blocks(self, stem_inputs: int, conditioning: Conditioning) -> None:
        """Builds the layers with a `GeneratorBlock` for each pair of consecutive widths."""
        name: Activation = self.options.activation
        blocks = [GeneratorBlock(*pair, conditioning, name) for pair in pairwise(self.widths)]
        maps = [(STEM_SIDE * 2**level, width) for level, width in enumerate(self.widths) if level]
        self.assemble(stem_inputs, blocks, maps)

    def inputs(self, latents: Latents, labels: Labels | None) -> tuple[Features, list[Condition]]:
        """The stem's input, and each block's condition."""
        raise NotImplementedError  # abstract

    def forward(self, latents: Latents, labels: Labels | None = None) -> Images:
        stem_input, conditions = self.inputs(latents, labels)
        # Channels last, the fast memory layout for convolutions.
        maps = self.stem(stem_input).unflatten(1, (STEM_SIDE, STEM_SIDE, -1)).permute(0, 3, 1, 2)
        for index, (block, condition) in enumerate(zip(self.blocks, conditions, strict=True)):
            maps = block(maps, condition)
            if index == self.attends_after:
                maps = self.attention(maps)
        return cast(Images, self.output(maps).float())


class ProjectionDiscriminator(ResidualNetwork, Discriminator):
    """Blocks, an activation, the sum over positions; a linear head and, for classes, a projection.

    The projection (Miyato and Koyama 2018, arXiv 1802.05637) adds to the logit the inner product of the
    features and an embedding of the class. `multiples` are those after each block. A subclass calls
    `assemble`.
    """

    def assemble(self, layers: Iterable[nn.Module], maps: Sequence[tuple[int, int]]) -> None:
        """Builds the network from `layers`; `maps` are the side and the channels after each of them.

        A non-local block follows the last layer with the side of self-attention.
        """
        layers, width = list(layers), maps[-1][1]
        after = max(self.attending(maps), default=None)
        if after is not None:
            layers.insert(after + 1, NonLocalBlock(maps[after][1]))
        self.layers = nn.Sequential(*layers)
        self.last_activation = activation(self.options.activation)
        self.head = nn.Linear(width, 1)
        if self.reads_labels:
            self.embedding = nn.Embedding(self.spec.num_classes, width)

    def features(self, images: Images, labels: Labels | None = None) -> Features:
        """The last maps after their activation, summed over positions (batch, channels), float32."""
        maps = self.last_activation(self.layers(images))
        return cast(Features, maps.sum((2, 3), dtype=torch.promote_types(maps.dtype, torch.float32)))

    def logits(self, features: Features, labels: Labels | None = None) -> Logits:
        logits = super().logits(features, labels)
        if not self.reads_labels:
            return logits
        embedded = self.embedding(required_labels(labels, self.spec.num_classes))
        return cast(Logits, logits + (embedded.float() * features).sum(1))


class ResidualDiscriminator(ProjectionDiscriminator):
    """A projection discriminator of `DiscriminatorBlock`s."""

    halvings: ClassVar[Mapping[int, int]]
    """The number of first blocks that halve the side, by image size."""
    wide: ClassVar[bool] = True
    """Whether a block's hidden channels are its outputs (SAGAN, BigGAN) or its inputs (SNGAN)."""

    def __init__(self, spec: NetworkSpec, options: Any) -> None:
        super().__init__(spec, options)
        halvings = self.halvings[spec.size]
        blocks, maps = [], []
        for index, (before, width) in enumerate(pairwise([spec.channels, *self.widths])):
            hidden = width if self.wide or index == 0 else before
            halves, first = index < halvings, index == 0
            blocks.append(DiscriminatorBlock(before, width, hidden, options.activation, halves, first))
            maps.append((spec.size >> min(index + 1, halvings), width))
        self.assemble(blocks, maps)


def indices_of_side(side: int, maps: Sequence[tuple[int, int]], size: int) -> list[int]:
    """The indices of `side` in `maps` (side, channels); none for 0. Raises `RecipeError` for other sides."""
    found = [index for index, (one, _) in enumerate(maps) if one == side]
    if side and not found:
        available = ", ".join(map(str, sorted({one for one, _ in maps})))
        raise RecipeError(
            f"attention = {side}: for {size}x{size} images this network has maps of side {available}; "
            "choose one of these, or 0 for none"
        )
    return found
