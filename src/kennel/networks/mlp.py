"""Fully connected networks (Goodfellow et al. 2014, arXiv 1406.2661): no notion of space, any image size."""

from typing import Annotated, ClassVar

from pydantic import Field, PositiveInt
from torch import nn

from kennel import options
from kennel.networks.activations import Activation, activation
from kennel.networks.contract import DISCRIMINATORS, GENERATORS, Discriminator, Generator, Setting
from kennel.shapes import Features, Images, Labels, Latents

Widths = Annotated[tuple[PositiveInt, ...], Field(min_length=1)]


@GENERATORS.register("mlp")
class MlpGenerator(Generator):
    """Latent -> hidden layers -> every pixel at once -> Tanh."""

    class Options(options.Options):
        """`hidden` widths from the latent on; batch norm after each hidden layer but the first."""

        hidden: Widths = (256, 512, 1024)
        activation: Activation = "leaky_relu"
        batch_norm: bool = True

    sizes: ClassVar[tuple[int, ...]] = ()

    def __init__(self, setting: Setting, options: Options) -> None:
        """Builds the layers for `setting`."""
        super().__init__(setting, options)
        layers: list[nn.Module] = []
        width = setting.latent_dimension
        for index, hidden in enumerate(options.hidden):
            layers.append(nn.Linear(width, hidden))
            if options.batch_norm and index > 0:
                layers.append(nn.BatchNorm1d(hidden))
            layers.append(activation(options.activation))
            width = hidden
        layers += [nn.Linear(width, setting.channels * setting.size**2), nn.Tanh()]
        self.layers = nn.Sequential(*layers)

    def forward(self, latents: Latents, labels: Labels | None = None) -> Images:
        """Draws one image for each latent; labels are not looked at."""
        flat = self.layers(latents)  # batch, channels * size * size
        images: Images = flat.float().unflatten(
            1, (self.setting.channels, self.setting.size, self.setting.size)
        )
        return images


@DISCRIMINATORS.register("mlp")
class MlpDiscriminator(Discriminator):
    """Every pixel at once -> hidden layers -> one logit."""

    class Options(options.Options):
        """`hidden` widths from the pixels on; dropout after each hidden layer, 0 for none."""

        hidden: Widths = (1024, 512, 256)
        activation: Activation = "leaky_relu"
        dropout: float = Field(0.3, ge=0, lt=1)

    def __init__(self, setting: Setting, options: Options) -> None:
        """Builds the layers for `setting`."""
        super().__init__(setting, options)
        layers: list[nn.Module] = []
        width = setting.channels * setting.size**2
        for hidden in options.hidden:
            layers += [nn.Linear(width, hidden), activation(options.activation)]
            if options.dropout:
                layers.append(nn.Dropout(options.dropout))
            width = hidden
        self.layers = nn.Sequential(*layers)
        self.head = nn.Linear(width, 1)

    def hidden(self, images: Images, labels: Labels | None = None) -> Features:
        """The last hidden layer (batch, hidden[-1]); labels are not looked at."""
        features: Features = self.layers(images.flatten(1))
        return features
