"""The discriminator of a projected GAN (Sauer et al. 2021, "Projected GANs Converge Faster", 2111.01007).

It sees features of a fixed network pretrained on ImageNet instead of pixels. The network's maps at four
scales are mixed by random, fixed convolutions, 1x1 across channels and 3x3 across scales (section 3.2), so
that every scale has information of the deeper ones, and no few channels suffice. A small discriminator reads
each of the four mixed maps, and optionally another one the images.

The recipe adds the paper's hinge loss, spectral norm and differentiable augmentation.
"""

from typing import ClassVar, Literal, cast

import torch
from pydantic import NonNegativeInt, PositiveInt, field_validator
from torch import Tensor, nn
from torch.nn.functional import conv2d, interpolate

from kennel.config import base
from kennel.errors import RecipeError
from kennel.networks.base import DISCRIMINATORS, BatchStatistic, Discriminator, NetworkSpec
from kennel.networks.layers.conv import Convolution
from kennel.networks.layers.instances import label_embedding
from kennel.networks.layers.normalization import CrossReplicaBatchNorm, required_labels
from kennel.networks.pretrained import FixedName, FixedNetwork
from kennel.shapes import Embedded, Features, Images, Labels, Logits, Maps

SIZES = (32, 64, 128, 256)
SCALES = (4, 8, 16, 32)
"""The downsampling factors of the four maps."""
MAX_SIDE = 1024
EMBEDDING = 64
"""The width of the label's embedding and of the heads' outputs."""


class ProjectedOptions(base.Config):
    """`features` is the fixed network, `side` the side of its input (a multiple of 32).

    `side` 0 enlarges small images by a half (32 to 64, 64 to 96), as the network was trained on 240x240, and
    keeps larger ones. The mixed maps have `base_channels` channels at 1/4, and twice, four and eight times as
    many at 1/8, 1/16 and 1/32. A head halves its map's side until it is at most `patch`, doubling the
    channels up to `max_channels`, and ends with a convolution of at most 4x4: one logit per head for `patch`
    4, 25 for 8 (the authors' code). `conditioning` "none" ignores the labels.

    `pixels` is the width, at half the side, of a fifth head that sees the images; 0 for none. The fixed
    network does not see patterns of one or two pixels in enlarged images.
    """

    features: FixedName = "efficientnet_lite1"
    side: int = 0
    base_channels: PositiveInt = 32
    max_channels: PositiveInt = 256
    patch: Literal[4, 8] = 4
    batch_norm: bool = True
    conditioning: Literal["projection", "none"] = "projection"
    pixels: NonNegativeInt = 0

    @field_validator("side")
    @classmethod
    def _check_side(cls, side: int) -> int:
        if not 0 <= side <= MAX_SIDE or side % SCALES[-1]:
            raise ValueError(
                f"side {side} is not a multiple of 32 from 32 to {MAX_SIDE}: give 64, 96, 128, 224, or 0 to "
                "choose it from the image size"
            )
        return side


def side_for(size: int) -> int:
    """The default side of the fixed network's input: see `ProjectedOptions`."""
    return size if size >= 128 else -(-3 * size // 64) * 32


class Mixing(nn.Module):
    """The paper's two random projections of the fixed network's maps, with constant weights.

    Cross-channel mixing gives each map `widths` channels by a 1x1 convolution. Cross-scale mixing goes from
    the deepest map to the shallowest: a 3x3 convolution, upsampled, and added to the next map (Fig. 2). All
    weights are drawn as in He et al. 2015.
    """

    def __init__(self, tap_widths: tuple[int, ...], widths: tuple[int, ...]) -> None:
        super().__init__()
        self.count = len(widths)
        for index, (before, width) in enumerate(zip(tap_widths, widths, strict=True)):
            self.register_buffer(f"across_channels_{index}", _kaiming(width, before, 1))
            if index:
                self.register_buffer(f"across_scales_{index}", _kaiming(widths[index - 1], width, 3))

    def forward(self, taps: list[Maps]) -> tuple[Maps, ...]:
        """The four mixed maps, shallow to deep, with the sides and the precision of the taps."""
        mixed = [conv2d(maps, self._weight("channels", index, maps)) for index, maps in enumerate(taps)]
        for index in reversed(range(1, self.count)):
            deeper = conv2d(mixed[index], self._weight("scales", index, mixed[index]), padding=1)
            shallower = mixed[index - 1]
            size = (shallower.shape[2], shallower.shape[3])
            mixed[index - 1] = shallower + interpolate(
                deeper, size=size, mode="bilinear", align_corners=False
            )
        return tuple(mixed)

    def _weight(self, across: str, index: int, maps: Maps) -> Tensor:
        weight: Tensor = getattr(self, f"across_{across}_{index}")
        return weight.to(maps.dtype, memory_format=torch.channels_last)


def _kaiming(outputs: int, inputs: int, side: int) -> Tensor:
    return nn.init.kaiming_normal_(torch.empty(outputs, inputs, side, side))


class Head(nn.Module):
    """(4x4 stride-2 convolution, batch norm, leaky ReLU)* -> a convolution to the outputs.

    `width` and `side` are those of its last hidden map.
    """

    def __init__(
        self, inputs: int, side: int, options: ProjectedOptions, outputs: int, first: int | None = None
    ) -> None:
        """For maps of `inputs` channels and this side; `outputs` numbers per patch.

        The first convolution has twice as many channels as its input, or `first`.
        """
        super().__init__()
        layers: list[nn.Module] = []
        width = inputs
        while side > options.patch:
            next_width = min(options.max_channels, 2 * width if layers or first is None else first)
            bias = not options.batch_norm
            layers.append(Convolution(width, next_width, 4, stride=2, padding=1, bias=bias))
            if options.batch_norm:
                layers.append(CrossReplicaBatchNorm(next_width))
            layers.append(nn.LeakyReLU(0.2, inplace=True))
            width, side = next_width, side // 2
        self.layers = nn.Sequential(*layers)
        self.close = Convolution(width, outputs, min(side, 4), bias=False)
        self.width, self.side = width, side

    @property
    def patches(self) -> int:
        return (self.side - self.close.kernel_size[0] + 1) ** 2


@DISCRIMINATORS.register("projected")
class ProjectedDiscriminator(Discriminator):
    """A fixed network -> random mixing across channels and scales -> four small heads, a row of logits.

    With `pixels` a fifth head sees the images.

    With classes or instances, the output of a head is a vector per patch, and the logit is its inner product
    with an embedding of the label (as in StyleGAN-XL: Sauer et al. 2022, arXiv 2202.00273, after Miyato and
    Koyama 2018).
    """

    Options = ProjectedOptions
    sizes: ClassVar[tuple[int, ...]] = SIZES
    paper_spec: ClassVar[NetworkSpec] = NetworkSpec(64, 3, 128)
    conditional = "optional"
    takes_instances = True
    embeds = True

    def __init__(self, spec: NetworkSpec, options: ProjectedOptions) -> None:
        super().__init__(spec, options)
        if spec.channels == 2:
            raise RecipeError("the discriminator projected needs images, not points: choose mlp")
        self.side = options.side or side_for(spec.size)
        self.fixed = FixedNetwork(options.features)
        widths = self.mixed_widths
        self.mixing = Mixing(self.fixed.tap_widths, widths)
        outputs = EMBEDDING if self.reads_labels else 1
        self.heads = nn.ModuleList(
            Head(width, self.side // scale, options, outputs)
            for width, scale in zip(widths, SCALES, strict=True)
        )
        if options.pixels:
            self.heads.append(Head(spec.channels, spec.size, options, outputs, options.pixels))
        if self.reads_labels:
            self.label = label_embedding(spec, EMBEDDING)

    @property
    def teacher(self) -> str | None:
        return None if self.options.features == "untrained" else str(self.options.features)

    @property
    def mixed_widths(self) -> tuple[int, ...]:
        return tuple(self.options.base_channels * 2**level for level in range(len(SCALES)))

    @property
    def embedded_widths(self) -> tuple[int, ...]:
        return (*self.mixed_widths, self.spec.channels) if self.options.pixels else self.mixed_widths

    @property
    def feature_width(self) -> int:
        return sum(head.width * head.side**2 for head in self._heads())

    def _heads(self) -> list[Head]:
        return [head for head in self.heads if isinstance(head, Head)]

    def embed(self, images: Images) -> Embedded:
        mixed: tuple[Maps, ...] = self.mixing(self.fixed(images, self.side))
        return (*mixed, images) if self.options.pixels else mixed

    def features(self, images: Images, labels: Labels | None = None) -> Features:
        return self.features_of(self.embed(images), labels)

    def features_of(self, embedded: Embedded, labels: Labels | None = None) -> Features:
        pairs = zip(self._heads(), embedded, strict=True)
        return torch.cat([head.layers(maps).permute(0, 2, 3, 1).flatten(1) for head, maps in pairs], 1)

    def logits(self, features: Features, labels: Labels | None = None) -> Logits:
        """(batch, outputs): the patches of all heads, concatenated."""
        heads = self._heads()
        patches = []
        sizes = [head.width * head.side**2 for head in heads]
        for head, flat in zip(heads, torch.split(features, sizes, 1), strict=True):
            maps = torch.unflatten(flat, 1, (head.side, head.side, head.width)).permute(0, 3, 1, 2)
            patches.append(head.close(maps).flatten(2).float())
        values = torch.cat(patches, 2)  # batch, 1 or the embedding's width, patches
        if not self.reads_labels:
            return values.squeeze(1)
        embedded = self.label(required_labels(labels, self.spec.num_labels)).float()
        return cast(Logits, (values * embedded[:, :, None]).sum(1) * EMBEDDING**-0.5)

    def append_statistic(self, statistic: BatchStatistic, random: torch.Generator) -> None:
        raise RecipeError(
            "the discriminator projected has several heads and no single last layer, which minibatch "
            "techniques need: remove minibatch_stddev and minibatch_discrimination"
        )
