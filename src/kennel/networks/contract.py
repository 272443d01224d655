"""What a generator and a discriminator must expose, and where they are registered."""

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from kennel.errors import RecipeError
from kennel.options import Options
from kennel.registry import Registry
from kennel.shapes import Features, Images, Labels, Latents, Logits


@dataclass(frozen=True)
class Setting:
    """What a pair of networks is built for: square images of `size`, 1 or 3 `channels`, and the latent."""

    size: int
    channels: int
    latent_dimension: int
    classes: int = 0


class Network(nn.Module):
    """A registered network: its options, the sizes that it supports, and the setting it was built for."""

    Options: ClassVar[type[Options]] = Options
    sizes: ClassVar[tuple[int, ...]] = ()
    """Supported image sizes; empty where every size is."""

    def __init__(self, setting: Setting, options: Any) -> None:
        """`options` is an instance of the class's own `Options`."""
        super().__init__()
        if self.sizes and setting.size not in self.sizes:
            raise RecipeError(
                f"{type(self).__name__} cannot draw {setting.size}x{setting.size} images: it supports "
                f"{', '.join(map(str, self.sizes))}; prepare the set with one of these as --size"
            )
        self.setting = setting
        self.options = options


class Generator(Network):
    """Latents (batch, latent) and, where it is conditional, labels to images in [-1, 1]."""

    def forward(self, latents: Latents, labels: Labels | None = None) -> Images:
        """Draws one image for each latent."""
        raise NotImplementedError  # abstract


class Discriminator(Network):
    """Images to raw logits: how real each image looks, before any sigmoid.

    A subclass gives `hidden` and the layer `head`, which maps the last hidden layer to one number.
    """

    head: nn.Module

    def hidden(self, images: Images, labels: Labels | None = None) -> Features:
        """The last hidden layer, flattened (batch, features): what feature matching compares."""
        raise NotImplementedError  # abstract

    def forward(self, images: Images, labels: Labels | None = None) -> Logits:
        """One raw logit for each image, float32 whatever the precision of the layers."""
        logits: Logits = self.head(self.hidden(images, labels)).squeeze(1).float()
        return logits


GENERATORS: Registry[type[Generator]] = Registry("generator")
DISCRIMINATORS: Registry[type[Discriminator]] = Registry("discriminator")
