"""R3GAN's networks without normalization, for the regularized relativistic loss (Huang et al. 2024).

"The GAN is dead; long live the GAN! A Modern Baseline GAN", arXiv 2501.05441, configuration E, and its
released code. A stage has residual blocks of 1x1, grouped 3x3 and 1x1 convolutions (ResNeXt with an inverted
bottleneck), with a bias and LeakyReLU 0.2 between them. Between stages the side doubles or halves by bilinear
interpolation, and a 1x1 convolution changes the channels. The generator starts from a learned 4x4 basis.
Every block is initialized as the identity (Fixup, Zhang et al. 2019, arXiv 1901.09321, without its scalars);
biases start at 0, and other layers have weights from N(0, 1 / fan-in).

In the authors' settings (`ModernOptions`) the networks have as many parameters as theirs: 23.058 M and
23.010 M on FFHQ at 256x256. The paper has linear pixels (`pixels`); the default here is Tanh, as in all of
kennel's generators.
"""

from itertools import pairwise
from typing import ClassVar, Literal, cast

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from kennel.config import base
from kennel.networks.base import DISCRIMINATORS, GENERATORS, Discriminator, Generator, NetworkSpec
from kennel.networks.layers.conv import Convolution, convolve, upsample
from kennel.networks.layers.normalization import required_labels
from kennel.networks.residual import Residual
from kennel.shapes import Features, Images, Labels, Latents, Logits

SIZES = (8, 16, 32, 64, 128, 256)
GAIN = (2 / (1 + 0.2**2)) ** 0.5
"""He et al. 2015: keeps the variance through a LeakyReLU of slope 0.2."""


class ModernOptions(base.Config):
    """`base_channels` in stages up to `full_width_side`; each finer stage has half of the one before.

    Every stage has at least `min_channels` (or `base_channels`). `blocks` residual blocks per stage, with
    `expansion` times the stage's channels inside, in groups of `group` channels. The authors' settings, all
    with 2 blocks, expansion 2 and latents of 64: 768 base channels and groups of 16 (CIFAR-10, FFHQ), 1536
    and groups of 32 (ImageNet); full width side 32, and 64 on ImageNet at 64x64.
    """

    base_channels: PositiveInt = 256
    full_width_side: PositiveInt = 32
    min_channels: PositiveInt = 64
    blocks: PositiveInt = 2
    expansion: PositiveInt = 2
    group: PositiveInt = 16


class ModernGeneratorOptions(ModernOptions):
    """Further options: `pixels` are the outputs of a Tanh, or "linear", as in the paper.

    Linear pixels may leave [-1, 1], and are clamped on conversion to bytes. A saturated Tanh has almost no
    gradient, and without normalization its input is unbounded.
    """

    pixels: Literal["tanh", "linear"] = "tanh"


class ModernDiscriminatorOptions(ModernOptions):
    """Further options: `conditioning` "none" ignores the labels."""

    conditioning: Literal["projection", "none"] = "projection"


def stage_widths(size: int, options: ModernOptions) -> list[int]:
    """Channels of the stages from 4x4 up to `size`."""
    widths, side = [], 4
    while side <= size:
        halvings = max(0, (side // options.full_width_side).bit_length() - 1)
        minimum = min(options.min_channels, options.base_channels)
        widths.append(max(minimum, options.base_channels >> halvings))
        side *= 2
    return widths


class Resample(nn.Module):
    """Doubles or halves the side by bilinear interpolation between the pixels' centers.

    Along each axis the filter is [1, 3, 3, 1] with a factor of 2, as in R3GAN's code. It is symmetric, so
    that nothing shifts and a mirrored input gives the mirrored output. Zero padding.
    """

    kernel: Tensor

    def __init__(self, way: Literal["up", "down"]) -> None:
        super().__init__()
        self.way = way
        # [1, 3, 3, 1] is [1, 2, 1] after nearest-neighbor upsampling, or before a 2x2 mean. CPUs have fast
        # kernels for these, but not for the gradient of a depthwise convolution of stride 2.
        line = torch.tensor([1.0, 2.0, 1.0]) / 4
        self.register_buffer("kernel", torch.outer(line, line)[None, None], persistent=False)

    def forward(self, maps: Tensor) -> Tensor:
        """(batch, channels, side, side) to twice or half the side."""
        channels = maps.shape[1]
        if self.way == "up":
            maps = upsample(maps)
        kernel = self.kernel.to(maps.dtype).expand(channels, 1, -1, -1)
        smoothed = convolve(maps, kernel, stride=1, padding=1, groups=channels)
        return smoothed if self.way == "up" else avg_pool2d(smoothed, 2)


class Block(Residual):
    """x + conv1x1(act(conv3x3(act(conv1x1(x))))), the 3x3 grouped; the last convolution starts at 0.

    There is no activation before the first convolution. The paper's biases before its activations are those
    of the convolutions.
    """

    def __init__(self, width: int, options: ModernOptions, blocks_in_network: int) -> None:
        """`blocks_in_network` determines the scale of Fixup's weights."""
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
            _init_normal(self.layers[index], scale)
        nn.init.zeros_(self.layers[4].weight)  # type: ignore[arg-type]

    def branch(self) -> list[nn.Module]:
        return [layer for layer in self.layers if isinstance(layer, Convolution)]

    def forward(self, maps: Tensor) -> Tensor:
        return cast(Tensor, maps + self.layers(maps))


def _init_normal(layer: nn.Module, gain: float = 1.0) -> None:
    """Weights from N(0, gain^2 / fan-in), bias 0. An embedding is a linear map of one-hot labels."""
    if isinstance(layer, nn.Embedding):
        nn.init.normal_(layer.weight, 0.0, gain / layer.num_embeddings**0.5)
        return
    assert isinstance(layer, nn.Conv2d | nn.Linear)
    nn.init.normal_(layer.weight, 0.0, gain / layer.weight[0].numel() ** 0.5)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def _stages(widths: list[int], options: ModernOptions, way: Literal["up", "down"]) -> nn.Sequential:
    """Blocks of each width; between stages a 1x1 convolution, if the width changes, on the smaller maps."""
    count = options.blocks * len(widths)
    layers: list[nn.Module] = [Block(widths[0], options, count) for _ in range(options.blocks)]
    for before, width in pairwise(widths):
        transition: list[nn.Module] = []
        if before != width:
            transition = [Convolution(before, width, 1, bias=False)]
            _init_normal(transition[0])
        resample = Resample(way)
        layers += [*transition, resample] if way == "up" else [resample, *transition]
        layers += [Block(width, options, count) for _ in range(options.blocks)]
    return nn.Sequential(*layers)


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
        super().__init__(spec, options)
        widths = stage_widths(spec.size, options)
        inputs = spec.latent_dim
        if spec.num_classes:
            self.label = nn.Embedding(spec.num_classes, spec.latent_dim)
            _init_normal(self.label)
            inputs *= 2
        self.start = nn.Parameter(torch.randn(widths[0], 4, 4))
        self.modulation = nn.Linear(inputs, widths[0], bias=False)
        _init_normal(self.modulation)
        self.layers = _stages(widths, options, "up")
        self.bounded = options.pixels == "tanh"
        self.to_pixels = Convolution(widths[-1], spec.channels, 1, bias=False)
        _init_normal(self.to_pixels)

    def forward(self, latents: Latents, labels: Labels | None = None) -> Images:
        if self.spec.num_classes:
            embedded = self.label(required_labels(labels, self.spec.num_classes))
            latents = torch.cat([latents, embedded], 1)
        maps = self.start * self.modulation(latents)[:, :, None, None]
        maps = maps.contiguous(memory_format=torch.channels_last)
        images: Images = self.to_pixels(self.layers(maps)).float()
        return images.tanh() if self.bounded else images


@DISCRIMINATORS.register("modern")
class ModernDiscriminator(Discriminator):
    """1x1 convolution -> (blocks, down)* -> blocks -> a 4x4 depthwise convolution to 1x1.

    The head is linear without a bias: to one logit or, with classes, to a vector, whose inner product with an
    embedding of the label is the logit. There is no unconditional part.
    """

    Options = ModernDiscriminatorOptions
    sizes: ClassVar[tuple[int, ...]] = SIZES
    paper_spec: ClassVar[NetworkSpec] = NetworkSpec(64, 3, 64)
    conditional = "optional"

    def __init__(self, spec: NetworkSpec, options: ModernDiscriminatorOptions) -> None:
        super().__init__(spec, options)
        widths = stage_widths(spec.size, options)[::-1]
        self.from_pixels = Convolution(spec.channels, widths[0], 1, bias=False)
        _init_normal(self.from_pixels)
        self.layers = _stages(widths, options, "down")
        self.close = Convolution(widths[-1], widths[-1], 4, groups=widths[-1], bias=False)
        _init_normal(self.close)
        outputs = widths[-1] if self.reads_labels else 1
        self.head = nn.Linear(widths[-1], outputs, bias=False)
        _init_normal(self.head)
        if self.reads_labels:
            self.label = nn.Embedding(spec.num_classes, outputs)
            _init_normal(self.label, outputs**-0.5)  # so that the inner product keeps the variance

    def features(self, images: Images, labels: Labels | None = None) -> Features:
        return cast(Features, self.close(self.layers(self.from_pixels(images))).flatten(1))

    def logits(self, features: Features, labels: Labels | None = None) -> Logits:
        """The head's logit or, with classes, the inner product of its outputs and the label's embedding."""
        if not self.reads_labels:
            return super().logits(features, labels)
        embedded = self.label(required_labels(labels, self.spec.num_classes)).float()
        return cast(Logits, (self.apply_head(features) * embedded).sum(1))
