"""A pair without normalisation, for the regularised relativistic loss (Huang et al. 2024, arXiv 2501.05441).

R3GAN, "The GAN is dead; long live the GAN": residual blocks of 1x1, grouped 3x3 and 1x1 convolutions (ResNeXt
with an inverted bottleneck), LeakyReLU 0.2, smoothed resampling by [1, 2, 1], a learned 4x4 start, no batch
norm; weights begin so that every block is the identity and the variance of deep sums stays put (Fixup, Zhang
et al. 2019, arXiv 1901.09321). Widths here are those of a small machine; the paper's are 768 and more.
"""

from typing import ClassVar, Literal

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn.functional import interpolate

from kennel import options
from kennel.networks.contract import DISCRIMINATORS, GENERATORS, Discriminator, Generator, Setting
from kennel.networks.convolutions import Convolution, convolve
from kennel.shapes import Features, Images, Labels, Latents, Logits

SIZES = (8, 16, 32, 64, 128, 256)
GAIN = (2 / (1 + 0.2**2)) ** 0.5
"""He et al. 2015: keeps the variance through a LeakyReLU of slope 0.2."""


class ModernOptions(options.Options):
    """`width` channels in the deepest stages; stages finer than 16x16 have half as many at each doubling.

    `blocks` residual blocks a stage, of `expansion` times the stage's channels inside, in groups of `group`
    channels.
    """

    width: PositiveInt = 256
    narrowest: PositiveInt = 64
    blocks: PositiveInt = 2
    expansion: PositiveInt = 2
    group: PositiveInt = 16


class ModernDiscriminatorOptions(ModernOptions):
    """The same; `conditioning` "none" keeps the labels from the discriminator."""

    conditioning: Literal["projection", "none"] = "projection"


def stage_widths(size: int, options: ModernOptions) -> list[int]:
    """Channels of the stages from 4x4 up to `size`."""
    widths, side = [], 4
    while side <= size:
        halvings = max(0, (side // 16).bit_length() - 1)
        narrowest = min(options.narrowest, options.width)
        widths.append(max(narrowest, options.width >> halvings))
        side *= 2
    return widths


class Resample(nn.Module):
    """Doubles or halves the side, smoothed by [1, 2, 1] / 4 along both axes, so that nothing aliases."""

    kernel: Tensor

    def __init__(self, way: Literal["up", "down"]) -> None:
        """`way` is the direction."""
        super().__init__()
        self.way = way
        line = torch.tensor([1.0, 2.0, 1.0]) / 4
        self.register_buffer("kernel", torch.outer(line, line)[None, None], persistent=False)

    def forward(self, maps: Tensor) -> Tensor:
        """(batch, channels, side, side) to twice or half the side."""
        channels = maps.shape[1]
        if self.way == "up":
            maps = interpolate(maps, scale_factor=2, mode="nearest")
        kernel = self.kernel.to(maps.dtype).expand(channels, 1, 3, 3)
        stride = 1 if self.way == "up" else 2
        return convolve(maps, kernel, stride=stride, padding=1, groups=channels)


class Block(nn.Module):
    """x + conv1x1(act(conv3x3(act(conv1x1(act x))))), the 3x3 grouped; the last convolution begins at 0."""

    def __init__(self, width: int, options: ModernOptions, blocks_in_network: int) -> None:
        """`blocks_in_network` sets the scale of Fixup's weights."""
        super().__init__()
        inner = width * options.expansion
        groups = max(1, inner // options.group)
        while inner % groups:
            groups -= 1
        self.layers = nn.Sequential(
            nn.LeakyReLU(0.2),
            Convolution(width, inner, 1),
            nn.LeakyReLU(0.2, inplace=True),
            Convolution(inner, inner, 3, padding=1, groups=groups),
            nn.LeakyReLU(0.2, inplace=True),
            Convolution(inner, width, 1, bias=False),
        )
        # Fixup: with m = 3 layers in each of L branches, all but the last are scaled by L^(-1 / (2m - 2)).
        scale = GAIN * blocks_in_network ** (-1 / 4)
        for index in (1, 3):
            _variance_keeping(self.layers[index], scale)
        nn.init.zeros_(self.layers[5].weight)  # type: ignore[arg-type]

    def forward(self, maps: Tensor) -> Tensor:
        """Adds the branch to what comes in."""
        summed: Tensor = maps + self.layers(maps)
        return summed


def _variance_keeping(layer: nn.Module, gain: float) -> None:
    assert isinstance(layer, nn.Conv2d | nn.Linear)
    nn.init.normal_(layer.weight, 0.0, gain / layer.weight[0].numel() ** 0.5)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


@GENERATORS.register("modern")
class ModernGenerator(Generator):
    """A learned 4x4 map, modulated by the latent -> (blocks, up)* -> blocks -> 1x1 convolution -> Tanh.

    The paper leaves the pixels linear; here they end between -1 and 1 as every generator's do. With classes
    an embedding of the label stands beside the latent.
    """

    Options = ModernOptions
    sizes: ClassVar[tuple[int, ...]] = SIZES
    native: ClassVar[Setting] = Setting(64, 3, 64)
    conditional = "optional"

    def __init__(self, setting: Setting, options: ModernOptions) -> None:
        """Builds the layers for `setting`."""
        super().__init__(setting, options)
        widths = stage_widths(setting.size, options)
        blocks = options.blocks * len(widths)
        entry = setting.latent_dimension
        if setting.classes:
            self.label = nn.Embedding(setting.classes, setting.latent_dimension)
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
        self.to_pixels = Convolution(widths[-1], setting.channels, 1, bias=False)
        _variance_keeping(self.to_pixels, 1.0)

    def forward(self, latents: Latents, labels: Labels | None = None) -> Images:
        """Draws one image for each latent."""
        if self.setting.classes:
            if labels is None:
                raise ValueError(f"this network was built for {self.setting.classes} classes: give it labels")
            latents = torch.cat([latents, self.label(labels)], 1)
        maps = self.start * self.modulation(latents)[:, :, None, None]
        maps = maps.contiguous(memory_format=torch.channels_last)
        images: Images = self.to_pixels(self.layers(maps)).float().tanh()
        return images


@DISCRIMINATORS.register("modern")
class ModernDiscriminator(Discriminator):
    """1x1 convolution -> (blocks, down)* -> blocks -> a 4x4 depthwise convolution that closes the map."""

    Options = ModernDiscriminatorOptions
    sizes: ClassVar[tuple[int, ...]] = SIZES
    native: ClassVar[Setting] = Setting(64, 3, 64)
    conditional = "optional"

    def __init__(self, setting: Setting, options: ModernDiscriminatorOptions) -> None:
        """Builds the layers for `setting`."""
        super().__init__(setting, options)
        widths = stage_widths(setting.size, options)[::-1]
        blocks = options.blocks * len(widths)
        self.from_pixels = Convolution(setting.channels, widths[0], 1)
        _variance_keeping(self.from_pixels, 1.0)
        layers: list[nn.Module] = []
        for index, width in enumerate(widths):
            if index > 0:
                layers += [Resample("down"), *_transition(widths[index - 1], width)]
            layers += [Block(width, options, blocks) for _ in range(options.blocks)]
        self.layers = nn.Sequential(*layers)
        self.close = Convolution(widths[-1], widths[-1], 4, groups=widths[-1], bias=False)
        _variance_keeping(self.close, 1.0)
        self.head = nn.Linear(widths[-1], 1)
        if self.reads_labels:
            self.label = nn.Embedding(setting.classes, widths[-1])
            nn.init.normal_(self.label.weight, 0.0, widths[-1] ** -0.5)

    def hidden(self, images: Images, labels: Labels | None = None) -> Features:
        """The closed map (batch, width)."""
        features: Features = self.close(self.layers(self.from_pixels(images))).flatten(1)
        return features

    def logits(self, features: Features, labels: Labels | None = None) -> Logits:
        """The head's logit and, with classes, the projection on the label (Miyato and Koyama 2018, eq. 3)."""
        logits = super().logits(features, labels)
        if self.reads_labels:
            if labels is None:
                raise ValueError(f"this network was built for {self.setting.classes} classes: give it labels")
            logits = logits + (self.label(labels) * features.float()).sum(1)
        return logits


def _transition(width: int, following: int) -> list[nn.Module]:
    """A 1x1 convolution where the channels change."""
    if width == following:
        return []
    layer = Convolution(width, following, 1, bias=False)
    _variance_keeping(layer, 1.0)
    return [layer]
