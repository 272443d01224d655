"""How batches go through the discriminator."""

from typing import ClassVar

from kennel.techniques.base import TECHNIQUES, Technique


@TECHNIQUES.register("separate_batches")
class SeparateBatches(Technique):
    """Each mini-batch is all real or all fake, so that batch norm never mixes their statistics.

    Shangguan et al. 2020, III.B.4; "GAN hacks" number 4. Without it real and fake go through the
    discriminator as one batch, which is faster and, with batch norm, another network.
    """

    splits_batches: ClassVar[bool] = True
