"""R3GAN's networks, without normalization, for the regularized relativistic loss (Huang et al. 2024).

"The GAN is dead; long live the GAN! A Modern Baseline GAN", arXiv 2501.05441, configuration E, and its
released code. A stage has residual blocks of 1x1, grouped 3x3 and 1x1 convolutions (ResNeXt with an inverted
bottleneck), with a bias and LeakyReLU 0.2 between them. Between stages the side doubles or halves by bilinear
interpolation, and a 1x1 convolution changes the channels. The generator starts from a learned 4x4 basis.
Weights begin so that every block is the identity (Fixup, Zhang et al. 2019, arXiv 1901.09321, without its
scalars); biases begin at 0, and every other layer has weights from N(0, 1 / fan-in).

In the authors' settings (`ModernOptions`) the networks have as many parameters as theirs: 23.058 M and
23.010 M on FFHQ at 256x256. The paper's pixels are linear (`pixels`); by default they end in Tanh here, as in
all of kennel's generators.
"""

from typing import ClassVar, Literal

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from kennel.config import base
from kennel.networks.base import DISCRIMINATORS, GENERATORS, Discriminator, Generator, NetworkSpec
from kennel.networks.layers.conv import Convolution, convolve, doubled
from kennel.networks.layers.normalization import given
from kennel.networks.residual import Residual
from kennel.shapes import Features, Images, Labels, Latents, Logits

SIZES = (8, 16, 32, 64, 128, 256)
GAIN = (2 / (1 + 0.2**2)) ** 0.5
"""He et al. 2015: keeps the variance through a LeakyReLU of slope 0.2."""


class ModernOptions(base.Config):
    """`width` channels in stages up to `widest_side`; each finer stage has half of the one before.

    No stage has fewer channels than `narrowest` (or than `width`). `blocks` residual blocks a stage, of
    `expansion` times the stage's channels inside, in groups of `group` channels. The authors' settings, all
    with 2 blocks, expansion 2 and latents of 64: width 768 and groups of 16 (CIFAR-10, FFHQ), width 1536 and
    groups of 32 (ImageNet); widest side 32, but 64 on ImageNet at 64x64.
    """

    base_channels: PositiveInt = 256
    full_width_side: PositiveInt = 32
    min_channels: PositiveInt = 64
    blocks: PositiveInt = 2
    expansion: PositiveInt = 2
    group: PositiveInt = 16


class ModernGeneratorOptions(ModernOptions):
    """The same; `pixels` are those of a Tanh, or "linear", as in the paper.

    Linear pixels may leave [-1, 1], and are clamped where they become bytes. A Tanh that is driven far out
    passes hardly any gradient back, and without a normalization nothing keeps its input from going there.
    """

    pixels: Literal["tanh", "linear"] = "tanh"


class ModernDiscriminatorOptions(ModernOptions):
    """The same; `conditioning` "none" keeps the labels from the discriminator."""

    conditioning: Literal["projection", "none"] = "projection"


def stage_widths(size: int, options: ModernOptions) -> list[int]:
    """Channels of the stages from 4x4 up to `size`."""
    widths, side = [], 4
    while side <= size:
        halvings = max(0, (side // options.full_width_side).bit_length() - 1)
        narrowest = min(options.min_channels, options.base_channels)
        widths.append(max(narrowest, options.base_channels >> halvings))
        side *= 2
    return widths


class Resample(nn.Module):
    """Doubles or halves the side by bilinear interpolation between the pixels' centers.

    Along each axis the filter is [1, 3, 3, 1] at a step of 2, as in R3GAN's code. It has as many taps on
    either side of an output's center, so that nothing shifts and a mirrored input gives the mirrored output.
    Beyond the border is 0.
    """

    kernel: Tensor

    def __init__(self, way: Literal["up", "down"]) -> None:
        """`way` is the direction."""
        super().__init__()
        self.way = way
        # [1, 1] and [1, 2, 1] make [1, 3, 3, 1]: pixels repeated before it, or the mean of 2x2 after it. CPUs
        # have fast kernels for these, and a slow one for the gradient of a step of 2 by channel.
        line = torch.tensor([1.0, 2.0, 1.0]) / 4
        self.register_buffer("kernel", torch.outer(line, line)[None, None], persistent=False)

    def forward(self, maps: Tensor) -> Tensor:
        """(batch, channels, side, side) to twice or half the side."""
        channels = maps.shape[1]
        if self.way == "up":
            maps = doubled(maps)
        kernel = self.kernel.to(maps.dtype).expand(channels, 1, -1, -1)
        smoothed = convolve(maps, kernel, stride=1, padding=1, groups=channels)
        return smoothed if self.way == "up" else avg_pool2d(smoothed, 2)


class Block(Residual):
    """x + conv1x1(act(conv3x3(act(conv1x1(x))))), the 3x3 grouped; the last convolution begins at 0.

    The input is not activated first. The paper's biases before its activations are those of the convolutions.
    """

    def __init__(self, width: int, options: ModernOptions, blocks_in_network: int) -> None:
        """`blocks_in_network` sets the scale of Fixup's weights."""
        super().__init__()
        inner = width * options.expansion
        groups = max(1, inner // options.group)
        while inner % groups:
            groups -= 1
        self.layers = nn.Sequential(
            Convolution(width, inner, 1),
            nn.LeakyReLU(0.2, inplace=True),
            Convolution(inner, inner, 3, padding=1, groups=groups),
            nn.LeakyReLU(0.2, inplace=True),
            Convolution(inner, width, 1, bias=False),
        )
        # Fixup: with m = 3 layers in each of L branches, all but the last are scaled by L^(-1 / (2m - 2)).
        scale = GAIN * blocks_in_network ** (-1 / 4)
        for index in (0, 2):
            _variance_keeping(self.layers[index], scale)
        nn.init.zeros_(self.layers[4].weight)  # type: ignore[arg-type]

    def branch(self) -> list[nn.Module]:
        """Its three convolutions."""
        return [layer for layer in self.layers if isinstance(layer, Convolution)]

    def forward(self, maps: Tensor) -> Tensor:
        """Adds the branch to what comes in."""
        summed: Tensor = maps + self.layers(maps)
        return summed


def _variance_keeping(layer: nn.Module, gain: float) -> None:
    """Weights from N(0, gain^2 / fan-in), bias 0. An embedding is a linear map of one-hot labels."""
    if isinstance(layer, nn.Embedding):
        nn.init.normal_(layer.weight, 0.0, gain / layer.num_embeddings**0.5)
        return
    assert isinstance(layer, nn.Conv2d | nn.Linear)
    nn.init.normal_(layer.weight, 0.0, gain / layer.weight[0].numel() ** 0.5)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


@GENERATORS.register("modern")
class ModernGenerator(Generator):
    """A learned 4x4 map, modulated by the latent -> (blocks, up)* -> blocks -> 1x1 convolution (-> Tanh).

    With classes an embedding of the label, as wide as the latent, is appended to it.
    """

    Options = ModernGeneratorOptions
    sizes: ClassVar[tuple[int, ...]] = SIZES
    paper_spec: ClassVar[NetworkSpec] = NetworkSpec(64, 3, 64)
    conditional = "optional"

    def __init__(self, spec: NetworkSpec, options: ModernGeneratorOptions) -> None:
        """Builds the layers for `setting`."""
        super().__init__(spec, options)
        widths = stage_widths(spec.size, options)
        blocks = options.blocks * len(widths)
        entry = spec.latent_dim
        if spec.num_classes:
            self.label = nn.Embedding(spec.num_classes, spec.latent_dim)
            _variance_keeping(self.label, 1.0)
            entry *= 2
        self.start = nn.Parameter(torch.randn(widths[0], 4, 4))
        self.modulation = nn.Linear(entry, widths[0], bias=False)
        _variance_keeping(self.modulation, 1.0)
        layers: list[nn.Module] = []
        for index, width in enumerate(widths):
            if index > 0:
                layers += [*_transition(widths[index - 1], width), Resample("up")]
            layers += [Block(width, options, blocks) for _ in range(options.blocks)]
        self.layers = nn.Sequential(*layers)
        self.bounded = options.pixels == "tanh"
        self.to_pixels = Convolution(widths[-1], spec.channels, 1, bias=False)
        _variance_keeping(self.to_pixels, 1.0)

    def forward(self, latents: Latents, labels: Labels | None = None) -> Images:
        """Draws one image for each latent."""
        if self.spec.num_classes:
            latents = torch.cat([latents, self.label(given(labels, self.spec.num_classes))], 1)
        maps = self.start * self.modulation(latents)[:, :, None, None]
        maps = maps.contiguous(memory_format=torch.channels_last)
        images: Images = self.to_pixels(self.layers(maps)).float()
        return images.tanh() if self.bounded else images


@DISCRIMINATORS.register("modern")
class ModernDiscriminator(Discriminator):
    """1x1 convolution -> (blocks, down)* -> blocks -> a 4x4 depthwise convolution that closes the map.

    The head is linear without a bias: to one logit or, with classes, to `width` numbers, whose inner product
    with an embedding of the label is the logit. No part of it is independent of the class.
    """

    Options = ModernDiscriminatorOptions
    sizes: ClassVar[tuple[int, ...]] = SIZES
    paper_spec: ClassVar[NetworkSpec] = NetworkSpec(64, 3, 64)
    conditional = "optional"

    def __init__(self, spec: NetworkSpec, options: ModernDiscriminatorOptions) -> None:
        """Builds the layers for `setting`."""
        super().__init__(spec, options)
        widths = stage_widths(spec.size, options)[::-1]
        blocks = options.blocks * len(widths)
        self.from_pixels = Convolution(spec.channels, widths[0], 1, bias=False)
        _variance_keeping(self.from_pixels, 1.0)
        layers: list[nn.Module] = []
        for index, width in enumerate(widths):
            if index > 0:
                layers += [Resample("down"), *_transition(widths[index - 1], width)]
            layers += [Block(width, options, blocks) for _ in range(options.blocks)]
        self.layers = nn.Sequential(*layers)
        self.close = Convolution(widths[-1], widths[-1], 4, groups=widths[-1], bias=False)
        _variance_keeping(self.close, 1.0)
        outputs = widths[-1] if self.reads_labels else 1
        self.head = nn.Linear(widths[-1], outputs, bias=False)
        _variance_keeping(self.head, 1.0)
        if self.reads_labels:
            self.label = nn.Embedding(spec.num_classes, outputs)
            _variance_keeping(self.label, outputs**-0.5)  # so that the inner product keeps the variance

    def features(self, images: Images, labels: Labels | None = None) -> Features:
        """The closed map (batch, width)."""
        features: Features = self.close(self.layers(self.from_pixels(images))).flatten(1)
        return features

    def logits(self, features: Features, labels: Labels | None = None) -> Logits:
        """The head's logit or, with classes, the inner product of its outputs with the label's embedding."""
        if not self.reads_labels:
            return super().logits(features, labels)
        embedded = self.label(given(labels, self.spec.num_classes)).float()
        logits: Logits = (self.headed(features) * embedded).sum(1)
        return logits


def _transition(width: int, following: int) -> list[nn.Module]:
    """A 1x1 convolution where the channels change."""
    if width == following:
        return []
    layer = Convolution(width, following, 1, bias=False)
    _variance_keeping(layer, 1.0)
    return [layer]
