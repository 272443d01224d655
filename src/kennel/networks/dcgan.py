"""DCGAN (Radford et al. 2015, arXiv 1511.06434): strided convolutions down, transposed ones up, batch norm.

The pair is symmetric (Shangguan et al., "Dog Image Generation using DCGAN", Fig. 5): as many layers of the
same kernel on either side, so that neither player outlearns the other. Channels double as the side halves.
With classes the pair is a conditional GAN (Mirza and Osindero 2014, arXiv 1411.1784): both are fed the label.
"""

from itertools import pairwise
from typing import ClassVar, Literal

import torch
from pydantic import Field, PositiveInt
from torch import nn

from kennel import options
from kennel.networks.activations import Activation, activation
from kennel.networks.class_bias import ClassBias
from kennel.networks.contract import DISCRIMINATORS, GENERATORS, Discriminator, Generator, Setting
from kennel.networks.convolutions import Convolution, TransposedConvolution
from kennel.networks.normalisation import CrossReplicaBatchNorm
from kennel.shapes import Features, Images, Labels, Latents

SIZES = (8, 16, 28, 32, 64, 128, 256)


class DcganOptions(options.Options):
    """`width` channels at half the image's side, doubling as the side halves up to `widest` times `width`.

    `batch_norm` False leaves the normalisation out, as a critic with a gradient penalty wants it.
    """

    width: PositiveInt = 64
    widest: PositiveInt = 16
    activation: Activation = "leaky_relu"
    batch_norm: bool = True


class DcganDiscriminatorOptions(DcganOptions):
    """The same, and `dropout` after every convolution but the first (0.5 holds a pair of 128x128 images).

    `conditioning` "none" keeps the labels from the discriminator, for an auxiliary classifier.
    """

    dropout: float = Field(0.0, ge=0, lt=1)
    conditioning: Literal["label", "none"] = "label"


def sides(size: int) -> list[int]:
    """The sides of the feature maps from deep to shallow: 4, 8, ..., size/2 (from 7 for 28)."""
    deepest = 7 if size == 28 else 4
    levels = (size // deepest).bit_length() - 1
    return [deepest * 2**level for level in range(levels)]


def channels_at(side: int, size: int, options: DcganOptions) -> int:
    """Channels of the feature map of this side."""
    return options.width * min(options.widest, size // (2 * side))


@GENERATORS.register("dcgan")
class DcganGenerator(Generator):
    """Latent -> linear to the deepest map -> (batch norm, activation, transposed convolution)* -> Tanh."""

    Options = DcganOptions
    sizes: ClassVar[tuple[int, ...]] = SIZES
    native: ClassVar[Setting] = Setting(64, 3, 100)
    conditional = "optional"

    def __init__(self, setting: Setting, options: DcganOptions) -> None:
        """Builds the layers for `setting`."""
        super().__init__(setting, options)
        maps = sides(setting.size)
        widths = [channels_at(side, setting.size, options) for side in maps]
        self.deepest = maps[0]
        # A linear layer is the usual first transposed convolution on a 1x1 map; it is faster.
        self.stem = nn.Linear(setting.latent_dimension, widths[0] * self.deepest**2, bias=False)
        layers = [*_normalisation(widths[0], options), activation(options.activation)]
        for width, wider in pairwise(widths):
            layers += [
                TransposedConvolution(width, wider, 4, stride=2, padding=1, bias=not options.batch_norm),
                *_normalisation(wider, options),
                activation(options.activation),
            ]
        layers += [TransposedConvolution(widths[-1], setting.channels, 4, stride=2, padding=1), nn.Tanh()]
        self.layers = nn.Sequential(*layers)
        if setting.classes:
            self.label = ClassBias(setting, self.stem)

    def forward(self, latents: Latents, labels: Labels | None = None) -> Images:
        """Draws one image for each latent."""
        flat = self.stem(latents)
        if self.setting.classes:
            flat = flat + self.label(labels)
        # Channels last in memory, which is the layout that the convolutions want.
        deepest = flat.unflatten(1, (self.deepest, self.deepest, -1)).permute(0, 3, 1, 2)
        images: Images = self.layers(deepest).float()
        return images


@DISCRIMINATORS.register("dcgan")
class DcganDiscriminator(Discriminator):
    """(4x4 stride-2 conv, batch norm but on the first, activation)* -> one logit from the deepest map."""

    Options = DcganDiscriminatorOptions
    sizes: ClassVar[tuple[int, ...]] = SIZES
    native: ClassVar[Setting] = Setting(64, 3, 100)
    conditional = "optional"
    feeds_labels = True

    def __init__(self, setting: Setting, options: DcganDiscriminatorOptions) -> None:
        """Builds the layers for `setting`."""
        super().__init__(setting, options)
        maps = sides(setting.size)[::-1]
        widths = [channels_at(side, setting.size, options) for side in maps]
        self.first = Convolution(setting.channels, widths[0], 4, stride=2, padding=1)
        layers: list[nn.Module] = [activation(options.activation)]
        for width, wider in pairwise(widths):
            layers += [
                Convolution(width, wider, 4, stride=2, padding=1, bias=not options.batch_norm),
                *_normalisation(wider, options),
                activation(options.activation),
            ]
            if options.dropout:
                layers.append(nn.Dropout(options.dropout))
        self.layers = nn.Sequential(*layers)
        self.head = nn.Linear(widths[-1] * maps[-1] ** 2, 1)
        if self.reads_labels:
            self.label = ClassBias(setting, self.first)

    def hidden(self, images: Images, labels: Labels | None = None) -> Features:
        """The deepest map, flattened."""
        shallowest = self.first(images)
        if self.reads_labels:
            shallowest = shallowest + self.label(labels)[:, :, None, None]
        deepest: torch.Tensor = self.layers(shallowest)
        features: Features = deepest.permute(0, 2, 3, 1).flatten(1)
        return features


def _normalisation(width: int, options: DcganOptions) -> list[nn.Module]:
    return [CrossReplicaBatchNorm(width)] if options.batch_norm else []
