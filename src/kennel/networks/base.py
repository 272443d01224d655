"""The base classes of generators and discriminators, and their registries."""

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

    `num_classes` is 0 if there are no classes, or if they are ignored. `class_counts` is the number of images
    of each class in the training set; empty if unknown. Instead of a class, a label may be one of
    `num_instances` instances, each with a fixed vector of `instance_dim`.
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
        """The number of classes or instances."""
        return self.num_classes or self.num_instances


class Network(nn.Module):
    """A registered network: its options, its supported sizes, and the spec it was built for."""

    Options: ClassVar[type[Config]] = Config
    sizes: ClassVar[tuple[int, ...]] = ()
    """Supported image sizes; empty for any size."""
    paper_spec: ClassVar[NetworkSpec] = NetworkSpec(64, 3, 128)
    """The spec of its paper, for which its parameters are counted."""
    conditional: ClassVar[Literal["optional", "never"]] = "never"
    """Whether it uses classes if there are some; "never" ignores labels."""
    takes_instances: ClassVar[bool] = False
    """Whether it can be conditioned on instances."""

    def __init__(self, spec: NetworkSpec, options: Any) -> None:
        """`options` is an instance of the class's own `Options`. Raises `RecipeError` for other sizes."""
        super().__init__()
        if self.sizes and spec.size not in self.sizes:
            raise RecipeError(
                f"{type(self).__name__} cannot draw {spec.size}x{spec.size} images: it supports "
                f"{', '.join(map(str, self.sizes))}; prepare the set with one of these as --size"
            )
        self.spec = spec
        self.options = options


class Generator(Network):
    """Maps latents (batch, latent), and labels if it is conditional, to images in [-1, 1]."""

    def forward(self, latents: Latents, labels: Labels | None = None) -> Images:
        """One image per latent."""
        raise NotImplementedError  # abstract


class StyleGenerator(Generator):
    """A generator that maps the latent to styles, one per layer, and draws the image from the styles.

    The two steps allow style mixing, gradients by the styles, and truncation towards the mean style.
    """

    def map_latents(self, latents: Latents, labels: Labels | None = None) -> Styles:
        """The styles of the latents, float32, (batch, layers, style), the same for each layer."""
        raise NotImplementedError  # abstract

    def synthesize(self, styles: Styles) -> Images:
        """The images of the styles."""
        raise NotImplementedError  # abstract

    def truncated(self, styles: Styles, factor: float) -> Styles:
        """Multiplies the distance of styles from the mean style by `factor`."""
        raise NotImplementedError  # abstract

    def forward(self, latents: Latents, labels: Labels | None = None) -> Images:
        return self.synthesize(self.map_latents(latents, labels))


class BatchStatistic(nn.Module):
    """A further input of the head, from the last hidden layer: (batch, features) to (batch, `width`).

    It may compare the images of a batch.
    """

    width: int

    def forward(self, features: Features) -> Tensor:
        """(batch, width)."""
        raise NotImplementedError  # abstract


class Discriminator(Network):
    """Maps images to raw logits, before any sigmoid; higher is more real.

    A subclass implements `features` and has the layer `head`, which maps the last hidden layer to one number.
    If the end depends on the class (a projection), it overrides `logits` too.
    """

    head: nn.Linear
    feeds_labels: ClassVar[bool] = False
    """Whether labels are an input of `features`; a projection uses them after it."""
    compares_images: bool = False
    """Whether logits depend on other images of the pass; real and fake images then need separate passes."""
    embeds: ClassVar[bool] = False
    """Whether it starts with a fixed network (`embed`), which is not trained."""

    @property
    def teacher(self) -> str | None:
        """The pretrained network in it, by the name of its extractor; None for none.

        Scores of that network are biased in favor of a generator trained against this discriminator
        (Kynkäänniemi et al. 2023, arXiv 2203.06026).
        """
        return None

    def __init__(self, spec: NetworkSpec, options: Any) -> None:
        super().__init__(spec, options)
        self.statistics = nn.ModuleList()

    @property
    def reads_labels(self) -> bool:
        """Whether its logits depend on the label."""
        disabled = getattr(self.options, "conditioning", None) == "none"
        return self.conditional != "never" and self.spec.num_labels > 0 and not disabled

    @property
    def features_read_labels(self) -> bool:
        """Whether the last hidden layer depends on the label."""
        return self.feeds_labels and self.reads_labels

    @property
    def feature_width(self) -> int:
        """The width of the last hidden layer."""
        return self.head.in_features - sum(cast(BatchStatistic, one).width for one in self.statistics)

    def features(self, images: Images, labels: Labels | None = None) -> Features:
        """The last hidden layer, flattened (batch, features)."""
        raise NotImplementedError  # abstract

    def embed(self, images: Images) -> Embedded:
        """The input of the trained layers: the images, unless it `embeds`."""
        return images

    @property
    def embedded_widths(self) -> tuple[int, ...]:
        """The channels of each map of `embed`."""
        return (self.spec.channels,)

    def require_hidden_features(self) -> None:
        """Raises `RecipeError` if `features` is not a hidden layer; for techniques that compare features."""

    def features_of(self, embedded: Embedded, labels: Labels | None = None) -> Features:
        """`features`, from the result of `embed`."""
        assert isinstance(embedded, Tensor)
        return self.features(embedded, labels)

    def logits(self, features: Features, labels: Labels | None = None) -> Logits:
        """One raw logit per row of the last hidden layer, float32 at any precision of the layers.

        (batch, outputs) for a discriminator with several heads or patches.
        """
        return self.apply_head(features).squeeze(1)

    def apply_head(self, features: Features) -> Tensor:
        """The head's outputs (batch, outputs), float32, from the last hidden layer and its statistics."""
        statistics = [statistic(features) for statistic in self.statistics]
        values: Tensor = self.head(torch.cat([features, *statistics], 1) if statistics else features)
        return values.float()

    def forward(self, images: Images, labels: Labels | None = None) -> Logits:
        """One raw logit per image, or a row of logits."""
        return self.logits(self.features(images, labels), labels)

    def append_statistic(self, statistic: BatchStatistic, random: torch.Generator) -> None:
        """Appends `statistic(features)` (batch, `statistic.width`) to the head's input.

        The head's weights are kept; those of the new inputs are drawn from `random`.
        """
        head = widened(self.head, statistic.width, random)
        self.statistics.append(statistic)
        self.head = head


GENERATORS: Registry[type[Generator]] = Registry("generator")
DISCRIMINATORS: Registry[type[Discriminator]] = Registry("discriminator")
