"""The discriminators of a projected GAN (Sauer et al. 2021, "Projected GANs Converge Faster", 2111.01007).

Images are not judged as pixels but through a fixed network that was trained on ImageNet. Its maps at four
scales are mixed by random, fixed convolutions, 1x1 across channels and 3x3 across scales (section 3.2), so
that a discriminator at any scale sees what the deeper ones see, and cannot look at a few channels alone. A
small discriminator judges each of the four mixed maps, and by option another one the images themselves.

The recipe adds what the paper has around it: the hinge loss, spectral norm, differentiable augmentation.
"""

from typing import ClassVar, Literal

import torch
from pydantic import NonNegativeInt, PositiveInt, field_validator
from torch import Tensor, nn
from torch.nn.functional import conv2d, interpolate

from kennel.config import base
from kennel.errors import RecipeError
from kennel.networks.base import DISCRIMINATORS, BatchStatistic, Discriminator, NetworkSpec
from kennel.networks.layers.conv import Convolution
from kennel.networks.layers.instances import label_embedding
from kennel.networks.layers.normalization import CrossReplicaBatchNorm, given
from kennel.networks.pretrained import FixedName, FixedNetwork
from kennel.shapes import Embedded, Features, Images, Labels, Logits, Maps

SIZES = (32, 64, 128, 256)
SCALES = (4, 8, 16, 32)
"""By how much the sides of the four maps are smaller than that of the network's input."""
LARGEST_SIDE = 1024
EMBEDDING = 64
"""The width in which a head's map meets the label's embedding."""


class ProjectedOptions(base.Config):
    """`features` names the fixed network, `side` what images are resized to for it (a multiple of 32).

    `side` 0 enlarges small images by a half (32 to 64, 64 to 96), for the network was trained on 240x240, and
    leaves larger ones as they are. The mixed maps have `width` channels at 1/4, and twice, four and eight
    times as many at 1/8, 1/16 and 1/32. A head halves its map's side until it is at most `patch`, which
    doubles the channels up to `widest`, and closes it by a convolution of at most 4x4: with `patch` 4 that is
    one logit a head, with 8 (the authors' code) 25. `conditioning` "none" keeps the labels from the heads.

    `pixels` is the width at half the side of a fifth head, which sees the images themselves; 0 leaves it
    out. Patterns of one or two pixels are lost when images are enlarged for the fixed network.
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
    def _a_multiple(cls, side: int) -> int:
        if not 0 <= side <= LARGEST_SIDE or side % SCALES[-1]:
            raise ValueError(
                f"side {side} is no multiple of 32 from 32 to {LARGEST_SIDE}: give 64, 96, 128, 224, or 0 to "
                "fit the images"
            )
        return side


def side_for(size: int) -> int:
    """The side before the fixed network where the options name none: see `ProjectedOptions`."""
    return size if size >= 128 else -(-3 * size // 64) * 32


class Mixing(nn.Module):
    """The paper's two random projections of the fixed network's maps; their weights are buffers.

    Cross-channel mixing gives each map `widths` channels by a 1x1 convolution; cross-scale mixing goes from
    the deepest map to the shallowest: a 3x3 convolution, doubled, and added to the next map (Fig. 2). All
    weights are drawn after He et al. 2015, and never trained.
    """

    def __init__(self, tap_widths: tuple[int, ...], widths: tuple[int, ...]) -> None:
        """Draws the weights from the global random generator."""
        super().__init__()
        self.count = len(widths)
        for index, (before, width) in enumerate(zip(tap_widths, widths, strict=True)):
            self.register_buffer(f"across_channels_{index}", _kaiming(width, before, 1))
            if index:
                self.register_buffer(f"across_scales_{index}", _kaiming(widths[index - 1], width, 3))

    def forward(self, taps: list[Maps]) -> tuple[Maps, ...]:
        """The four mixed maps, shallow to deep, of the sides and the precision of the taps."""
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
    """(4x4 stride-2 convolution, batch norm, leaky ReLU)* -> a convolution that closes the map.

    `width` is that of its last hidden map, `side` the map's side.
    """

    def __init__(
        self, inputs: int, side: int, options: ProjectedOptions, outputs: int, first: int | None = None
    ) -> None:
        """For maps of `inputs` channels and this side; `outputs` numbers for each closed patch.

        The first convolution has twice as many channels as its input, or `first`.
        """
        super().__init__()
        layers: list[nn.Module] = []
        width = inputs
        while side > options.patch:
            wider = min(options.max_channels, 2 * width if layers or first is None else first)
            layers.append(Convolution(width, wider, 4, stride=2, padding=1, bias=not options.batch_norm))
            if options.batch_norm:
                layers.append(CrossReplicaBatchNorm(wider))
            layers.append(nn.LeakyReLU(0.2, inplace=True))
            width, side = wider, side // 2
        self.layers = nn.Sequential(*layers)
        self.close = Convolution(width, outputs, min(side, 4), bias=False)
        self.width, self.side = width, side

    @property
    def patches(self) -> int:
        """Logits an image."""
        return (self.side - self.close.kernel_size[0] + 1) ** 2


@DISCRIMINATORS.register("projected")
class ProjectedDiscriminator(Discriminator):
    """A fixed network -> random mixing across channels and scales -> four small heads, a row of logits.

    With `pixels` a fifth head sees the images.

    With classes or instances each head closes its map to a vector, and the logit is its inner product with an
    embedding of the label (as StyleGAN-XL has it: Sauer et al. 2022, arXiv 2202.00273, after Miyato and
    Koyama 2018).
    """

    Options = ProjectedOptions
    sizes: ClassVar[tuple[int, ...]] = SIZES
    paper_spec: ClassVar[NetworkSpec] = NetworkSpec(64, 3, 128)
    conditional = "optional"
    takes_instances = True
    embeds = True

    def __init__(self, spec: NetworkSpec, options: ProjectedOptions) -> None:
        """Builds the layers for `setting`; weights that are not at hand raise `WeightsError`."""
        super().__init__(spec, options)
        if spec.channels == 2:
            raise RecipeError("the discriminator projected looks at images, and points are none: take mlp")
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
        """The fixed network, if it was trained."""
        return None if self.options.features == "untrained" else str(self.options.features)

    @property
    def mixed_widths(self) -> tuple[int, ...]:
        """The channels of the four mixed maps."""
        return tuple(self.options.base_channels * 2**level for level in range(len(SCALES)))

    @property
    def embedded_widths(self) -> tuple[int, ...]:
        """The channels of the four mixed maps, and of the images where a head sees them."""
        return (*self.mixed_widths, self.spec.channels) if self.options.pixels else self.mixed_widths

    @property
    def feature_width(self) -> int:
        """The width of all heads' last hidden maps together."""
        return sum(head.width * head.side**2 for head in self._heads())

    def _heads(self) -> list[Head]:
        return [head for head in self.heads if isinstance(head, Head)]

    def embed(self, images: Images) -> Embedded:
        """The four mixed maps, and the images where a head sees them."""
        mixed: tuple[Maps, ...] = self.mixing(self.fixed(images, self.side))
        return (*mixed, images) if self.options.pixels else mixed

    def features(self, images: Images, labels: Labels | None = None) -> Features:
        """The heads' last hidden maps, flattened, of images."""
        return self.features_of(self.embed(images), labels)

    def features_of(self, embedded: Embedded, labels: Labels | None = None) -> Features:
        """The heads' last hidden maps, flattened, one head after the other."""
        pairs = zip(self._heads(), embedded, strict=True)
        return torch.cat([head.layers(maps).permute(0, 2, 3, 1).flatten(1) for head, maps in pairs], 1)

    def logits(self, features: Features, labels: Labels | None = None) -> Logits:
        """(batch, outputs): the patches of each head, one head after the other."""
        heads = self._heads()
        closed = []
        sizes = [head.width * head.side**2 for head in heads]
        for head, flat in zip(heads, torch.split(features, sizes, 1), strict=True):
            maps = torch.unflatten(flat, 1, (head.side, head.side, head.width)).permute(0, 3, 1, 2)
            closed.append(head.close(maps).flatten(2).float())
        values = torch.cat(closed, 2)  # batch, 1 or the embedding's width, patches
        if not self.reads_labels:
            return values.squeeze(1)
        embedded = self.label(given(labels, self.spec.num_labels)).float()
        logits: Logits = (values * embedded[:, :, None]).sum(1) * EMBEDDING**-0.5
        return logits

    def append_statistic(self, statistic: BatchStatistic, random: torch.Generator) -> None:
        """Refused: there is no one last layer that could see it."""
        raise RecipeError(
            "the discriminator projected has four heads and no single last layer that a minibatch technique "
            "could extend: leave minibatch_stddev and minibatch_discrimination out"
        )
