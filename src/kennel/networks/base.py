"""What a generator and a discriminator must expose, and where they are registered."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn

from kennel.config.base import Config
from kennel.errors import RecipeError
from kennel.networks.layers.init import widened
from kennel.registry import Registry
from kennel.shapes import Embedded, Features, Images, Labels, Latents, Logits, Styles


@dataclass(frozen=True)
class NetworkSpec:
    """What a pair of networks is built for: square images of `size`, their `channels`, and the latent.

    `classes` is 0 where there are none, or where nobody looks at them. `class_counts` are the images of each
    class in the training set, by which a class is drawn; empty where that is not known. In their place a
    label may be the number of one of `instances`, each of which has a fixed vector of `instance_width`.
    """

    size: int
    channels: int
    latent_dim: int
    num_classes: int = 0
    latent_distribution: Literal["normal", "uniform"] = "normal"
    class_counts: tuple[int, ...] = ()
    num_instances: int = 0
    instance_dim: int = 0

    @property
    def num_labels(self) -> int:
        """How many labels there are: classes or instances."""
        return self.num_classes or self.num_instances


class Network(nn.Module):
    """A registered network: its options, the sizes that it supports, and the setting it was built for."""

    Options: ClassVar[type[Config]] = Config
    sizes: ClassVar[tuple[int, ...]] = ()
    """Supported image sizes; empty where every size is."""
    paper_spec: ClassVar[NetworkSpec] = NetworkSpec(64, 3, 128)
    """The setting of its paper, at which its size is told."""
    conditional: ClassVar[Literal["optional", "never"]] = "never"
    """Whether it takes classes where the setting has some; "never" ignores labels."""
    takes_instances: ClassVar[bool] = False
    """Whether it can be conditioned on instances where the setting has some."""

    def __init__(self, spec: NetworkSpec, options: Any) -> None:
        """`options` is an instance of the class's own `Options`."""
        super().__init__()
        if self.sizes and spec.size not in self.sizes:
            raise RecipeError(
                f"{type(self).__name__} cannot draw {spec.size}x{spec.size} images: it supports "
                f"{', '.join(map(str, self.sizes))}; prepare the set with one of these as --size"
            )
        self.spec = spec
        self.options = options


class Generator(Network):
    """Latents (batch, latent) and, where it is conditional, labels to images in [-1, 1]."""

    def forward(self, latents: Latents, labels: Labels | None = None) -> Images:
        """Draws one image for each latent."""
        raise NotImplementedError  # abstract


class StyleGenerator(Generator):
    """A generator that maps the latent to styles, one for each layer, and draws the image from these alone.

    What it is asked for in these two steps: styles of several latents mixed, gradients by the styles, and
    truncation, which moves styles towards their mean.
    """

    def map_latents(self, latents: Latents, labels: Labels | None = None) -> Styles:
        """The styles of these latents, float32, the same for each layer (batch, layers, style)."""
        raise NotImplementedError  # abstract

    def synthesize(self, styles: Styles) -> Images:
        """The images of these styles."""
        raise NotImplementedError  # abstract

    def truncated(self, styles: Styles, factor: float) -> Styles:
        """Styles whose distance to the mean style is `factor` of what it was."""
        raise NotImplementedError  # abstract

    def forward(self, latents: Latents, labels: Labels | None = None) -> Images:
        """Draws one image for each latent."""
        return self.synthesize(self.map_latents(latents, labels))


class BatchStatistic(nn.Module):
    """What a head sees beside the last hidden layer: (batch, features) to (batch, `width`)."""

    width: int

    def forward(self, features: Features) -> Tensor:
        """Computes it, (batch, width); it may compare the images of a batch."""
        raise NotImplementedError  # abstract


class Discriminator(Network):
    """Images to raw logits: how real each image looks, before any sigmoid.

    A subclass gives `hidden`, and the layer `head` that maps the last hidden layer to one number. One that
    uses the class at its end gives `logits` as well: a projection adds to the head's number, and a head with
    more outputs compares them with the class.
    """

    head: nn.Linear
    feeds_labels: ClassVar[bool] = False
    """Whether labels go into `hidden`, as further input; a projection looks at them after it."""
    compares_images: bool = False
    """Whether an image's logit depends on the others of its pass, so that real and fake need passes apart."""
    embeds: ClassVar[bool] = False
    """Whether it begins with a fixed network (`embed`), which nothing that is trained changes."""

    @property
    def teacher(self) -> str | None:
        """The pretrained network that it looks through, by the name of its extractor; None for none.

        A score by that network flatters what was trained against this discriminator (Kynkäänniemi et al.
        2023, arXiv 2203.06026).
        """
        return None

    def __init__(self, spec: NetworkSpec, options: Any) -> None:
        """`options` is an instance of the class's own `Options`."""
        super().__init__(spec, options)
        self.statistics = nn.ModuleList()

    @property
    def reads_labels(self) -> bool:
        """Whether its logits depend on the label."""
        told_not_to = getattr(self.options, "conditioning", None) == "none"
        return self.conditional != "never" and self.spec.num_labels > 0 and not told_not_to

    @property
    def features_read_labels(self) -> bool:
        """Whether the last hidden layer depends on the class."""
        return self.feeds_labels and self.reads_labels

    @property
    def feature_width(self) -> int:
        """The width of the last hidden layer."""
        return self.head.in_features - sum(cast(BatchStatistic, one).width for one in self.statistics)

    def features(self, images: Images, labels: Labels | None = None) -> Features:
        """The last hidden layer, flattened (batch, features): what feature matching compares."""
        raise NotImplementedError  # abstract

    def embed(self, images: Images) -> Embedded:
        """What the trained layers start from: the images themselves, but where it `embeds`."""
        return images

    @property
    def embedded_widths(self) -> tuple[int, ...]:
        """The channels of each map that `embed` gives."""
        return (self.spec.channels,)

    def features_of(self, embedded: Embedded, labels: Labels | None = None) -> Features:
        """`hidden` of the images that `embed` gave this for."""
        assert isinstance(embedded, Tensor)
        return self.features(embedded, labels)

    def logits(self, features: Features, labels: Labels | None = None) -> Logits:
        """One raw logit for each row of the last hidden layer, float32 whatever the layers' precision.

        A discriminator with several heads or patches gives a row of them (batch, outputs).
        """
        return self.headed(features).squeeze(1)

    def headed(self, features: Features) -> Tensor:
        """The head's outputs (batch, outputs), float32, of the last hidden layer and its statistics."""
        beside = [statistic(features) for statistic in self.statistics]
        values: Tensor = self.head(torch.cat([features, *beside], 1) if beside else features)
        return values.float()

    def forward(self, images: Images, labels: Labels | None = None) -> Logits:
        """One raw logit for each image, or a row of them."""
        return self.logits(self.features(images, labels), labels)

    def append_statistic(self, statistic: BatchStatistic, random: torch.Generator) -> None:
        """Lets the head see `statistic(features)` (batch, `statistic.width`) beside the last hidden layer.

        The head's weights are kept; those of the new columns are drawn from `random`.
        """
        head = widened(self.head, statistic.width, random)
        self.statistics.append(statistic)
        self.head = head


GENERATORS: Registry[type[Generator]] = Registry("generator")
DISCRIMINATORS: Registry[type[Discriminator]] = Registry("discriminator")
