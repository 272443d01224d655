"""What the residual networks (SNGAN, SAGAN, BigGAN, BigGAN-deep) are made of.

A generator is a linear stem to a 4x4 map, residual blocks that double the side, and batch norm, activation,
convolution, Tanh. A discriminator is residual blocks that halve the side, an activation, the sum over
positions, and a linear head, with a projection where there are classes.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn

from kennel.errors import RecipeError
from kennel.networks.base import Discriminator, Generator
from kennel.networks.layers.activations import Activation, activation
from kennel.networks.layers.attention import NonLocalBlock
from kennel.networks.layers.conv import Convolution, doubled, halved
from kennel.networks.layers.normalization import Condition, Conditioning, given, normalised
from kennel.shapes import Features, Images, Labels, Latents, Logits

STEM_SIDE = 4


def sparing_activation(name: Activation) -> nn.Module:
    """An activation that leaves its input as it was, because a shortcut reads it too."""
    layer: Any = activation(name)
    if hasattr(layer, "inplace"):
        layer.inplace = False
    return cast(nn.Module, layer)


class Residual(nn.Module):
    """A block whose output is the sum of a shortcut and a branch."""

    def branch(self) -> list[nn.Module]:
        """The convolutions of the branch; those of the shortcut are not among them."""
        raise NotImplementedError  # abstract


class GeneratorBlock(Residual):
    """Doubles the side. After Miyato et al. 2018 (arXiv 1802.05957, appendix B), with conditions.

    batch norm, activation, double, 3x3 convolution, batch norm, activation, 3x3 convolution
    plus the shortcut: 1x1 convolution, double
    """

    def __init__(self, width: int, wider: int, conditioning: Conditioning, name: Activation) -> None:
        """From `width` to `wider` channels, with the activation of this name."""
        super().__init__()
        self.first_norm = conditioning.batch_norm(width)
        self.first_activation = activation(name)
        self.first = Convolution(width, wider, 3, padding=1)
        self.second_norm = conditioning.batch_norm(wider)
        self.second_activation = activation(name)
        self.second = Convolution(wider, wider, 3, padding=1)
        self.shortcut = Convolution(width, wider, 1)

    def branch(self) -> list[nn.Module]:
        """Its two 3x3 convolutions."""
        return [self.first, self.second]

    def forward(self, images: Tensor, condition: Condition) -> Tensor:
        """(batch, width, side, side) to (batch, wider, 2 side, 2 side)."""
        hidden = self.first_activation(normalised(images, self.first_norm, condition))
        hidden = self.first.on_doubled(hidden)
        hidden = self.second_activation(normalised(hidden, self.second_norm, condition))
        # A 1x1 convolution of doubled maps is the doubled convolution: this order has a quarter of the work.
        return cast(Tensor, self.second(hidden) + doubled(self.shortcut(images)))


class DiscriminatorBlock(Residual):
    """Halves the side, or keeps it. After Miyato et al. 2018 (arXiv 1802.05957, appendix B).

        activation, 3x3 convolution, activation, 3x3 convolution, 2x2 mean
        plus the shortcut: 2x2 mean, 1x1 convolution

    The first block of a discriminator has no activation before its first convolution: it sees images. A
    block that neither halves nor widens has no convolution in its shortcut.
    """

    def __init__(
        self, width: int, wider: int, hidden: int, name: Activation, halves: bool, first: bool
    ) -> None:
        """From `width` over `hidden` to `wider` channels."""
        super().__init__()
        self.halves = halves
        self.first_activation = nn.Identity() if first else sparing_activation(name)
        self.first = Convolution(width, hidden, 3, padding=1)
        self.second_activation = activation(name)
        self.second = Convolution(hidden, wider, 3, padding=1)
        plain = width == wider and not halves
        self.shortcut = nn.Identity() if plain else Convolution(width, wider, 1)

    def branch(self) -> list[nn.Module]:
        """Its two 3x3 convolutions."""
        return [self.first, self.second]

    def forward(self, images: Tensor) -> Tensor:
        """(batch, width, side, side) to (batch, wider, side, side), or half that side."""
        hidden = self.second_activation(self.first(self.first_activation(images)))
        if not self.halves:
            return cast(Tensor, self.second(hidden) + self.shortcut(images))
        # The mean before the 1x1 convolution gives what it gives after, for a quarter of the work.
        return cast(Tensor, self.second.halved(hidden) + self.shortcut(halved(images)))


class ResidualGenerator(Generator):
    """Stem, blocks, and batch norm - activation - convolution - Tanh; the last batch norm is unconditional.

    A subclass assembles it, and says by `inputs` what the stem and each block are given.
    """

    conditional: ClassVar[Literal["optional", "never"]] = "optional"

    def assemble(
        self,
        stem_inputs: int,
        stem_width: int,
        blocks: Iterable[nn.Module],
        maps: Sequence[tuple[int, int]],
        attention: int,
    ) -> None:
        """`maps` are the side and the channels after each block.

        A non-local block follows the first block that reaches the side `attention`; 0 for none.
        """
        options: Any = self.options
        width = maps[-1][1]
        self.stem = nn.Linear(stem_inputs, stem_width * STEM_SIDE**2)
        self.blocks = nn.ModuleList(blocks)
        self.output = nn.Sequential(
            Conditioning(epsilon=options.epsilon).batch_norm(width),
            activation(options.activation),
            Convolution(width, self.spec.channels, 3, padding=1),
            nn.Tanh(),
        )
        self.attends_after = min(with_side(attention, maps, self.spec.size), default=None)
        if self.attends_after is not None:
            self.attention = NonLocalBlock(maps[self.attends_after][1])

    def inputs(self, latents: Latents, labels: Labels | None) -> tuple[Features, list[Condition]]:
        """What the stem sees, and each block's condition."""
        raise NotImplementedError  # abstract

    def forward(self, latents: Latents, labels: Labels | None = None) -> Images:
        """Draws one image for each latent."""
        given_to_stem, conditions = self.inputs(latents, labels)
        # Channels last in memory, which is the layout that the convolutions want.
        maps = self.stem(given_to_stem).unflatten(1, (STEM_SIDE, STEM_SIDE, -1)).permute(0, 3, 1, 2)
        for index, (block, condition) in enumerate(zip(self.blocks, conditions, strict=True)):
            maps = block(maps, condition)
            if index == self.attends_after:
                maps = self.attention(maps)
        images: Images = self.output(maps).float()
        return images


class ProjectionDiscriminator(Discriminator):
    """Blocks, an activation, the sum over positions; a linear head and, for classes, a projection.

    The projection (Miyato and Koyama 2018, arXiv 1802.05637) adds to the logit the inner product
    of the features with an embedding of the class. A subclass assembles it.
    """

    conditional: ClassVar[Literal["optional", "never"]] = "optional"

    def assemble(self, layers: Iterable[nn.Module], maps: Sequence[tuple[int, int]], attention: int) -> None:
        """`layers` are the blocks from images on, and `maps` the side and the channels after each.

        A non-local block follows the last block whose maps have the side `attention`; 0 for none.
        """
        options: Any = self.options
        layers, width = list(layers), maps[-1][1]
        after = max(with_side(attention, maps, self.spec.size), default=None)
        if after is not None:
            layers.insert(after + 1, NonLocalBlock(maps[after][1]))
        self.layers = nn.Sequential(*layers)
        self.last_activation = activation(options.activation)
        self.head = nn.Linear(width, 1)
        if self.reads_labels:
            self.embedding = nn.Embedding(self.spec.num_classes, width)

    def features(self, images: Images, labels: Labels | None = None) -> Features:
        """The last maps after their activation, summed over positions (batch, channels), float32."""
        maps = self.last_activation(self.layers(images))
        features: Features = maps.sum((2, 3), dtype=torch.promote_types(maps.dtype, torch.float32))
        return features

    def logits(self, features: Features, labels: Labels | None = None) -> Logits:
        """The head's logit, and with classes the projection onto the label's embedding."""
        logits = super().logits(features, labels)
        if not self.reads_labels:
            return logits
        embedded = self.embedding(given(labels, self.spec.num_classes))
        projected: Logits = logits + (embedded.float() * features).sum(1)
        return projected


def with_side(side: int, maps: Sequence[tuple[int, int]], size: int) -> list[int]:
    """Where in `maps` (side, channels) this side is; nowhere for 0. `RecipeError` where no map has it."""
    found = [index for index, (one, _) in enumerate(maps) if one == side]
    if side and not found:
        there = ", ".join(map(str, sorted({one for one, _ in maps})))
        raise RecipeError(
            f"attention = {side}: for {size}x{size} images this network has maps of side {there}; "
            "choose one of these, or 0 for none"
        )
    return found


def generator_blocks(
    widths: Sequence[int], conditionings: Sequence[Conditioning], name: Activation
) -> list[GeneratorBlock]:
    """A block between each two neighbours of `widths`."""
    return [
        GeneratorBlock(width, wider, conditioning, name)
        for (width, wider), conditioning in zip(pairwise(widths), conditionings, strict=True)
    ]


def generator_maps(widths: Sequence[int]) -> list[tuple[int, int]]:
    """The side and the channels after each block between neighbours of `widths`: (8, ...), (16, ...), ..."""
    return [(STEM_SIDE * 2**level, width) for level, width in enumerate(widths) if level]


def discriminator_blocks(
    channels: int, widths: Sequence[int], halvings: int, wide: bool, name: Activation
) -> list[DiscriminatorBlock]:
    """Blocks from images of so many channels on; the first `halvings` of them halve the side.

    `wide`: a block's hidden channels are as many as its outputs (SAGAN, BigGAN), and otherwise as many as
    its inputs (SNGAN).
    """
    blocks = []
    for index, (width, wider) in enumerate(pairwise([channels, *widths])):
        hidden = wider if wide or index == 0 else width
        blocks.append(DiscriminatorBlock(width, wider, hidden, name, index < halvings, index == 0))
    return blocks


def discriminator_maps(size: int, widths: Sequence[int], halvings: int) -> list[tuple[int, int]]:
    """The side and the channels after each block."""
    return [(size >> min(index + 1, halvings), width) for index, width in enumerate(widths)]
