"""SAGAN (Zhang et al. 2018, arXiv 1805.08318): SNGAN's residual networks, with self-attention in both.

After the released code, which has attention at side 32 for 128x128 images (and a variant at 64), and wide
hidden layers in the discriminator. Its 32x32 and 64x64 tables are SNGAN's.
"""

from typing import Any, ClassVar

from pydantic import NonNegativeInt, PositiveFloat

from kennel.networks.base import DISCRIMINATORS, GENERATORS, NetworkSpec
from kennel.networks.sngan import SnganDiscriminator, SnganGenerator

ATTENTION = {32: 16, 64: 32, 128: 32}
"""The side of the maps that attend to themselves, by the size of the images."""


def side_of(options: Any, size: int) -> int:
    """What the options say, and otherwise what the size says."""
    chosen: int = ATTENTION[size] if options.attention is None else options.attention
    return chosen


@GENERATORS.register("sagan")
class SaganGenerator(SnganGenerator):
    """SNGAN's generator with a non-local block."""

    class Options(SnganGenerator.Options):
        """SNGAN's, and `attention`: the side of the maps that attend to themselves.

        0 for none; left out it is 32, and 16 for 32x32 images.
        """

        epsilon: PositiveFloat = 1e-5
        attention: NonNegativeInt | None = None

    paper_spec: ClassVar[NetworkSpec] = NetworkSpec(128, 3, 128, 1000)

    def attention_side(self) -> int:
        """The side of the maps that attend to themselves; 0: none do."""
        return side_of(self.options, self.spec.size)


@DISCRIMINATORS.register("sagan")
class SaganDiscriminator(SnganDiscriminator):
    """SNGAN's discriminator with a non-local block and wide hidden layers."""

    class Options(SnganDiscriminator.Options):
        """SNGAN's, and `attention`: the side of the maps that attend to themselves.

        0 for none; left out it is 32, and 16 for 32x32 images.
        """

        attention: NonNegativeInt | None = None

    wide: ClassVar[bool] = True

    paper_spec: ClassVar[NetworkSpec] = NetworkSpec(128, 3, 128, 1000)

    def attention_side(self) -> int:
        """The side of the maps that attend to themselves; 0: none do."""
        return side_of(self.options, self.spec.size)
