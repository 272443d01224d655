"""Separate discriminator passes for real and fake images."""

from typing import ClassVar

from kennel.techniques.base import TECHNIQUES, Technique


@TECHNIQUES.register("separate_batches")
class SeparateBatches(Technique):
    """Each discriminator batch is all real or all fake, so that batch norm does not mix their statistics.

    Shangguan et al. 2020, III.B.4; "GAN hacks" number 4. Without it real and fake images pass as one batch,
    which is faster but gives other results with batch norm.
    """

    splits_batches: ClassVar[bool] = True
