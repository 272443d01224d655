"""StyleGAN2: a mapping network, modulated convolutions, a skip generator and a residual discriminator.

Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN" (arXiv 1912.04958), with the
settings of Karras et al. 2020, "Training Generative Adversarial Networks with Limited Data"
(arXiv 2006.06676), and their conditioning on classes. With the default options the networks have as many
parameters as the authors' for 256x256 images.

There are two differences. The paper's pixels are linear; here they are outputs of a Tanh, as in all of
kennel's generators. And the class embedding of the discriminator is not mapped by further layers.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar, Literal, cast

import torch
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from kennel.config.base import Config
from kennel.distributed import mean_over_ranks
from kennel.networks.base import DISCRIMINATORS, GENERATORS, Discriminator, NetworkSpec, StyleGenerator
from kennel.networks.layers.equalized import GAIN, EqualizedConvolution, EqualizedLinear, exact
from kennel.networks.layers.minibatch_stddev import MinibatchStddevLayer
from kennel.networks.layers.modulated_conv import Blur, Halving, ModulatedConvolution, ModulatedDoubling
from kennel.networks.layers.normalization import required_labels
from kennel.networks.r3gan import Resample
from kennel.networks.residual import Residual
from kennel.shapes import Features, Images, Labels, Latents, Logits, Styles

SIZES = (8, 16, 32, 64, 128, 256)
NATIVE = NetworkSpec(256, 3, 512)
START = 4
"""The side of the learned constant, and of the discriminator's last maps."""
MEAN_DECAY = 0.998
"""The decay of the mean style per batch."""


class StyleGAN2Options(Config):
    """Maps of a side have `channel_base` / side channels, and `channel_max` at most.

    The authors have 512 at most, and 16384 / side for images up to 256 pixels (32768 for larger ones).
    """

    channel_base: PositiveInt = 16384
    channel_max: PositiveInt = 512


class StyleGAN2GeneratorOptions(StyleGAN2Options):
    """`mapping_layers` layers of `style` channels map a latent to a style (8 of 512, or 2 on small sets).

    `noise` adds noise of a learned strength to the maps after each 3x3 convolution: drawn for each image in
    training (by each rank), constant in evaluation.
    """

    mapping_layers: PositiveInt = 8
    style: PositiveInt = 512
    noise: bool = True


class StyleGAN2DiscriminatorOptions(StyleGAN2Options):
    """The last convolution gets the standard deviation of `group` images as further input (0: none).

    `conditioning` "none" ignores the labels.
    """

    group: NonNegativeInt = 4
    conditioning: Literal["projection", "none"] = "projection"


def widths(size: int, options: StyleGAN2Options) -> list[int]:
    sides = [START << level for level in range(int(math.log2(size // START)) + 1)]
    return [max(1, min(options.channel_base // side, options.channel_max)) for side in sides]


def activated(maps: Tensor) -> Tensor:
    """Leaky ReLU 0.2 in place; the gain of sqrt(2) is in the layer before it."""
    return leaky_relu(maps, 0.2, inplace=True)


def normalized(vectors: Features) -> Features:
    """Each row divided by its root mean square."""
    return vectors * (vectors.square().mean(1, keepdim=True) + 1e-8).rsqrt()


class Mapping(nn.Module):
    """Normalized latents and a normalized embedding of the class to styles; in float32."""

    def __init__(self, spec: NetworkSpec, options: StyleGAN2GeneratorOptions) -> None:
        """The layers have a hundredth of the learning rate."""
        super().__init__()
        self.classes = spec.num_classes
        inputs = spec.latent_dim
        if spec.num_classes:
            self.label = nn.Embedding(spec.num_classes, options.style)
            inputs += options.style
        self.layers = nn.ModuleList(
            EqualizedLinear(options.style if index else inputs, options.style, gain=GAIN, multiplier=0.01)
            for index in range(options.mapping_layers)
        )

    def forward(self, latents: Latents, labels: Labels | None) -> Features:
        mapped = normalized(exact(latents))
        if self.classes:
            embedded = self.label(required_labels(labels, self.classes))
            mapped = torch.cat([mapped, normalized(exact(embedded))], 1)
        for layer in self.layers:
            mapped = activated(layer(mapped))
        return mapped


class StyledLayer(nn.Module):
    """A modulated 3x3 convolution, noise, a bias and the activation, with its own affine map of the style."""

    noise: Tensor

    def __init__(
        self, in_channels: int, out_channels: int, side: int, options: StyleGAN2GeneratorOptions, up: bool
    ) -> None:
        """`side` is that of the output; with `up` the input has half of it."""
        super().__init__()
        self.style = EqualizedLinear(options.style, in_channels, bias=1.0)
        self.convolution = (
            ModulatedDoubling(in_channels, out_channels)
            if up
            else ModulatedConvolution(in_channels, out_channels, 3)
        )
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.has_noise = options.noise
        if options.noise:
            self.strength = nn.Parameter(torch.zeros(()))
            self.register_buffer("noise", torch.randn(1, 1, side, side))

    def forward(self, maps: Tensor, style: Features) -> Tensor:
        """(batch, in_channels, ...), (batch, style) to (batch, out_channels, side, side)."""
        maps = self.convolution(maps, self.style(style), self.bias * GAIN)
        if self.has_noise:
            noise = self.noise
            if self.training:
                noise = torch.randn(len(maps), *noise.shape[1:], device=noise.device, dtype=noise.dtype)
            maps.add_((noise * (self.strength * GAIN)).to(maps.dtype))
        return activated(maps)


class ToPixels(nn.Module):
    """A modulated 1x1 convolution to colors, without demodulation, and a bias."""

    def __init__(self, width: int, channels: int, style: int) -> None:
        super().__init__()
        self.style = EqualizedLinear(style, width, bias=1.0)
        self.convolution = ModulatedConvolution(width, channels, 1, demodulates=False)
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, maps: Tensor, style: Features) -> Images:
        """(batch, width, side, side) to the image's component of this side, float32."""
        return exact(self.convolution(maps, self.style(style), self.bias))


class Stage(nn.Module):
    """The styled layers of one side, and its pixels."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        side: int,
        channels: int,
        options: StyleGAN2GeneratorOptions,
    ) -> None:
        """From maps of half the side, or of the same side for the first stage, to `channels` colors."""
        super().__init__()
        layers = [] if side == START else [StyledLayer(in_channels, out_channels, side, options, up=True)]
        layers.append(StyledLayer(out_channels, out_channels, side, options, up=False))
        self.layers = nn.ModuleList(layers)
        self.to_pixels = ToPixels(out_channels, channels, options.style)

    def forward(self, maps: Tensor, styles: Sequence[Features]) -> tuple[Tensor, Images]:
        """The maps and the pixels; `styles` are one for each layer and one for the pixels."""
        for layer, style in zip(self.layers, styles, strict=False):
            maps = layer(maps, style)
        return maps, self.to_pixels(maps, styles[len(self.layers)])


@GENERATORS.register("stylegan2")
class StyleGAN2Generator(StyleGenerator):
    """A learned constant -> styled layers, two per side from 8 on; sum of the pixels of all sides -> Tanh.

    The pixels of a side are upsampled by the filter [1, 3, 3, 1] and added to those of the next.
    """

    Options = StyleGAN2GeneratorOptions
    sizes: ClassVar[tuple[int, ...]] = SIZES
    paper_spec: ClassVar[NetworkSpec] = NATIVE
    conditional = "optional"

    mean_style: Tensor

    def __init__(self, spec: NetworkSpec, options: StyleGAN2GeneratorOptions) -> None:
        super().__init__(spec, options)
        by_side = widths(spec.size, options)
        self.mapping = Mapping(spec, options)
        self.register_buffer("mean_style", torch.zeros(options.style))
        self.start = nn.Parameter(torch.randn(1, by_side[0], START, START))
        self.doubling = Resample("up")
        self.stages = nn.ModuleList(
            Stage(*pair, START << level, spec.channels, options)
            for level, pair in enumerate(pairwise([by_side[0], *by_side]))
        )
        self.styled = 2 * len(by_side)
        """The number of styles: one for each 3x3 convolution, and one for the last pixels."""

    def map_latents(self, latents: Latents, labels: Labels | None = None) -> Styles:
        """The styles (batch, layers, style); in training it updates their mean over all ranks."""
        mapped = self.mapping(latents, labels)
        if self.training:
            with torch.no_grad():
                self.mean_style.lerp_(mean_over_ranks(mapped.mean(0)), 1 - MEAN_DECAY)
        return cast(Styles, mapped[:, None].expand(-1, self.styled, -1))

    def truncated(self, styles: Styles, factor: float) -> Styles:
        return torch.lerp(self.mean_style, styles, factor)

    def synthesize(self, styles: Styles) -> Images:
        """The images; the pixels of a side share their style with the first layer of the next."""
        # `len(styles)` would fix the batch size of an exported graph.
        maps = self.start.expand(styles.shape[0], -1, -1, -1).contiguous(memory_format=torch.channels_last)
        by_layer = styles.unbind(1)
        maps, image = self.stages[0](maps, by_layer[:2])
        for level, stage in enumerate(self.stages[1:]):
            maps, pixels = stage(maps, by_layer[2 * level + 1 :])
            image = self.doubling(image) + pixels
        return cast(Images, image.tanh())


class ResidualHalving(Residual):
    """Two activated 3x3 convolutions, the second halves the side, plus a 1x1 shortcut; divided by sqrt(2).

    Both paths downsample with the filter [1, 3, 3, 1]; the shortcut computes it only at the pixels it keeps.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.first = EqualizedConvolution(in_channels, in_channels, 3, padding=1, gain=GAIN)
        self.blur = Blur((1.0, 3.0, 3.0, 1.0), 2)
        # The activation's gain and the division by sqrt(2) cancel.
        self.second = EqualizedConvolution(in_channels, out_channels, 3, stride=2)
        self.halve = Halving()
        self.shortcut = EqualizedConvolution(in_channels, out_channels, 1, bias=False, gain=1 / GAIN)

    def branch(self) -> list[nn.Module]:
        return [self.first, self.second]

    def forward(self, maps: Tensor) -> Tensor:
        """(batch, in_channels, side, side) to (batch, out_channels, side / 2, side / 2)."""
        hidden = activated(self.second(self.blur(activated(self.first(maps)))))
        return cast(Tensor, hidden + self.shortcut(self.halve(maps)))


@DISCRIMINATORS.register("stylegan2")
class StyleGAN2Discriminator(Discriminator):
    """1x1 convolution -> residual blocks down to 4x4 -> minibatch stddev -> 3x3 convolution -> linear layers.

    With classes the head has as many outputs as the layer before it; the logit is their inner product with an
    embedding of the label, divided by the root of their number.
    """

    Options = StyleGAN2DiscriminatorOptions
    sizes: ClassVar[tuple[int, ...]] = SIZES
    paper_spec: ClassVar[NetworkSpec] = NATIVE
    conditional = "optional"

    def __init__(self, spec: NetworkSpec, options: StyleGAN2DiscriminatorOptions) -> None:
        super().__init__(spec, options)
        by_side = widths(spec.size, options)[::-1]
        last = by_side[-1]
        self.from_pixels = EqualizedConvolution(spec.channels, by_side[0], 1, gain=GAIN)
        self.blocks = nn.Sequential(*(ResidualHalving(*pair) for pair in pairwise(by_side)))
        self.compares_images = options.group > 0
        self.spread = MinibatchStddevLayer(options.group) if options.group else None
        self.last = EqualizedConvolution(last + bool(options.group), last, 3, padding=1, gain=GAIN)
        self.dense = EqualizedLinear(last * START**2, last, gain=GAIN)
        self.head = EqualizedLinear(last, last if self.reads_labels else 1)
        if self.reads_labels:
            self.label = nn.Embedding(spec.num_classes, last)

    def features(self, images: Images, labels: Labels | None = None) -> Features:
        maps = self.blocks(activated(self.from_pixels(images)))
        if self.spread is not None:
            spread = self.spread(maps.flatten(1)).to(maps.dtype)
            maps = torch.cat([maps, spread[:, :, None, None].expand(-1, -1, START, START)], 1)
        maps = activated(self.last(maps))
        return activated(self.dense(maps.flatten(1)))

    def logits(self, features: Features, labels: Labels | None = None) -> Logits:
        """The head's logit or, with classes, the inner product of its outputs and the label's embedding."""
        if not self.reads_labels:
            return super().logits(features, labels)
        outputs = self.apply_head(features)
        embedded = normalized(exact(self.label(required_labels(labels, self.spec.num_classes))))
        return cast(Logits, (outputs * embedded).sum(1) / outputs.shape[1] ** 0.5)
