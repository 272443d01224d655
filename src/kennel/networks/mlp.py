"""Fully connected networks (Goodfellow et al. 2014, arXiv 1406.2661), for any image size.

With classes they are the conditional GAN of Mirza and Osindero (2014, arXiv 1411.1784): the label is a
further input of the first layer of both networks.
"""

from itertools import pairwise
from typing import Annotated, ClassVar, Literal, cast

from pydantic import Field, PositiveInt
from torch import nn

from kennel.config import base
from kennel.networks.base import DISCRIMINATORS, GENERATORS, Discriminator, Generator, NetworkSpec
from kennel.networks.class_bias import ClassBias
from kennel.networks.layers.activations import Activation, activation
from kennel.networks.layers.normalization import CrossReplicaBatchNorm1d
from kennel.shapes import Features, Images, Labels, Latents

Widths = Annotated[tuple[PositiveInt, ...], Field(min_length=1)]


@GENERATORS.register("mlp")
class MlpGenerator(Generator):
    """Latent -> hidden layers -> all pixels -> Tanh."""

    class Options(base.Config):
        """`hidden` widths from the latent on; batch norm after each hidden layer except the first."""

        hidden: Widths = (256, 512, 1024)
        activation: Activation = "leaky_relu"
        batch_norm: bool = True

    paper_spec: ClassVar[NetworkSpec] = NetworkSpec(28, 1, 100)
    conditional = "optional"

    def __init__(self, spec: NetworkSpec, options: Options) -> None:
        super().__init__(spec, options)
        self.first = nn.Linear(spec.latent_dim, options.hidden[0])
        layers: list[nn.Module] = [activation(options.activation)]
        for before, width in pairwise(options.hidden):
            layers.append(nn.Linear(before, width))
            if options.batch_norm:
                layers.append(CrossReplicaBatchNorm1d(width))
            layers.append(activation(options.activation))
        layers += [nn.Linear(options.hidden[-1], spec.channels * spec.size**2), nn.Tanh()]
        self.layers = nn.Sequential(*layers)
        if spec.num_classes:
            self.label = ClassBias(spec, self.first)

    def forward(self, latents: Latents, labels: Labels | None = None) -> Images:
        hidden = self.first(latents)
        if self.spec.num_classes:
            hidden = hidden + self.label(labels)
        flat = self.layers(hidden)  # batch, channels * size * size
        return cast(Images, flat.float().unflatten(1, (self.spec.channels, self.spec.size, self.spec.size)))


@DISCRIMINATORS.register("mlp")
class MlpDiscriminator(Discriminator):
    """All pixels -> hidden layers -> one logit."""

    class Options(base.Config):
        """`hidden` widths from the pixels on; dropout after each hidden layer, 0 for none.

        `conditioning` "none" ignores the labels, for an auxiliary classifier.
        """

        hidden: Widths = (1024, 512, 256)
        activation: Activation = "leaky_relu"
        dropout: float = Field(0.3, ge=0, lt=1)
        conditioning: Literal["label", "none"] = "label"

    paper_spec: ClassVar[NetworkSpec] = NetworkSpec(28, 1, 100)
    conditional = "optional"
    feeds_labels = True

    def __init__(self, spec: NetworkSpec, options: Options) -> None:
        super().__init__(spec, options)
        self.first = nn.Linear(spec.channels * spec.size**2, options.hidden[0])
        layers = self._activation_and_dropout()
        for before, width in pairwise(options.hidden):
            layers += [nn.Linear(before, width), *self._activation_and_dropout()]
        self.layers = nn.Sequential(*layers)
        self.head = nn.Linear(options.hidden[-1], 1)
        if self.reads_labels:
            self.label = ClassBias(spec, self.first)

    def _activation_and_dropout(self) -> list[nn.Module]:
        dropout = [nn.Dropout(self.options.dropout)] if self.options.dropout else []
        return [activation(self.options.activation), *dropout]

    def features(self, images: Images, labels: Labels | None = None) -> Features:
        hidden = self.first(images.flatten(1))
        if self.reads_labels:
            hidden = hidden + self.label(labels)
        return cast(Features, self.layers(hidden))
