"""Networks of Bek and Aljanabi ("Improved Techniques for Training GANs Implementation", section 2), 28x28.

Their improved and their baseline GAN have the same two networks; minibatch discrimination, feature matching,
averaging of parameters and smoothed labels are techniques.
"""

from typing import ClassVar, cast

from pydantic import PositiveInt
from torch import nn

from kennel.config import base
from kennel.networks.base import DISCRIMINATORS, GENERATORS, Discriminator, Generator, NetworkSpec
from kennel.networks.layers.conv import Convolution, TransposedConvolution
from kennel.networks.layers.normalization import CrossReplicaBatchNorm
from kennel.shapes import Features, Images, Labels, Latents


@GENERATORS.register("improved")
class ImprovedGenerator(Generator):
    """Linear -> ReLU -> two transposed convolutions, the first with batch norm and ReLU -> Tanh.

    The report has batch norm and ReLU after each transposed convolution "and finally a Tanh". A Tanh after a
    ReLU gives no pixel below mid-gray, so the Tanh follows the last transposed convolution, as in DCGAN.
    """

    class Options(base.Config):
        """`base_channels`: channels of the deepest map; they halve as the side doubles."""

        base_channels: PositiveInt = 128

    sizes: ClassVar[tuple[int, ...]] = (28,)
    paper_spec: ClassVar[NetworkSpec] = NetworkSpec(28, 1, 100)

    def __init__(self, spec: NetworkSpec, options: Options) -> None:
        super().__init__(spec, options)
        self.stem = nn.Linear(spec.latent_dim, options.base_channels * 7 * 7)
        half = max(1, options.base_channels // 2)
        self.layers = nn.Sequential(
            nn.ReLU(inplace=True),
            TransposedConvolution(options.base_channels, half, 4, stride=2, padding=1, bias=False),  # 14x14
            CrossReplicaBatchNorm(half),
            nn.ReLU(inplace=True),
            TransposedConvolution(half, spec.channels, 4, stride=2, padding=1),  # 28x28
            nn.Tanh(),
        )

    def forward(self, latents: Latents, labels: Labels | None = None) -> Images:
        deepest = self.stem(latents).unflatten(1, (7, 7, -1)).permute(0, 3, 1, 2)
        return cast(Images, self.layers(deepest).float())


@DISCRIMINATORS.register("improved")
class ImprovedDiscriminator(Discriminator):
    """Two 4x4 stride-2 convolutions of 64 and 128, batch norm on the second -> linear -> linear.

    Minibatch discrimination (a technique) uses the outputs of the first linear layer, the last hidden layer,
    and its statistics are further inputs of the second one, as in the report.
    """

    class Options(base.Config):
        """`base_channels` in the first convolution, twice as many in the second; `hidden` linear outputs.

        The report does not give the width of its linear layer.
        """

        base_channels: PositiveInt = 64
        hidden: PositiveInt = 1024

    sizes: ClassVar[tuple[int, ...]] = (28,)
    paper_spec: ClassVar[NetworkSpec] = NetworkSpec(28, 1, 100)

    def __init__(self, spec: NetworkSpec, options: Options) -> None:
        super().__init__(spec, options)
        width = options.base_channels
        self.layers = nn.Sequential(
            Convolution(spec.channels, width, 4, stride=2, padding=1),  # 14x14
            nn.LeakyReLU(0.2, inplace=True),
            Convolution(width, 2 * width, 4, stride=2, padding=1, bias=False),  # 7x7
            CrossReplicaBatchNorm(2 * width),
            nn.LeakyReLU(0.2, inplace=True),
        )
        self.linear = nn.Linear(2 * width * 7 * 7, options.hidden)
        self.head = nn.Linear(options.hidden, 1)

    def features(self, images: Images, labels: Labels | None = None) -> Features:
        return cast(Features, self.linear(self.layers(images).permute(0, 2, 3, 1).flatten(1)))
