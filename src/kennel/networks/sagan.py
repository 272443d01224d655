"""SAGAN (Zhang et al. 2018, arXiv 1805.08318): SNGAN's residual networks with self-attention in both.

After the released code, which has attention at side 32 for 128x128 images (and a variant at 64), and wide
hidden layers in the discriminator. The 32x32 and 64x64 tables are SNGAN's.
"""

from typing import ClassVar

from pydantic import NonNegativeInt, PositiveFloat

from kennel.networks.base import DISCRIMINATORS, GENERATORS, NetworkSpec
from kennel.networks.sngan import SnganDiscriminator, SnganGenerator

ATTENTION = {32: 16, 64: 32, 128: 32}
"""The default side of self-attention, by image size."""


@GENERATORS.register("sagan")
class SaganGenerator(SnganGenerator):
    """SNGAN's generator with a non-local block."""

    class Options(SnganGenerator.Options):
        """`attention` is the side of the maps with self-attention, 0 for none.

        The default is 32, and 16 for 32x32 images.
        """

        epsilon: PositiveFloat = 1e-5
        attention: NonNegativeInt | None = None

    paper_spec: ClassVar[NetworkSpec] = NetworkSpec(128, 3, 128, 1000)
    default_attention = ATTENTION


@DISCRIMINATORS.register("sagan")
class SaganDiscriminator(SnganDiscriminator):
    """SNGAN's discriminator with a non-local block and wide hidden layers."""

    class Options(SnganDiscriminator.Options):
        """`attention` is the side of the maps with self-attention, 0 for none.

        The default is 32, and 16 for 32x32 images.
        """

        attention: NonNegativeInt | None = None

    paper_spec: ClassVar[NetworkSpec] = NetworkSpec(128, 3, 128, 1000)
    wide = True
    default_attention = ATTENTION
