"""Adversarial losses: what each player minimises, as two functions of both logits.

Logits are raw, one an image, for real images and for fakes, so that relativistic losses fit the same seam.
"""

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, softplus

from kennel.options import Options
from kennel.registry import Registry
from kennel.shapes import Logits, Scalar
from kennel.shapes import Targets as TargetValues


class Targets(NamedTuple):
    """What the discriminator's sigmoid should say of each real and each fake image, in [0, 1]."""

    real: TargetValues
    fake: TargetValues

    @classmethod
    def for_logits(cls, real_logits: Tensor, fake_logits: Tensor) -> "Targets":
        """The hard labels: 1 for real, 0 for fake."""
        return cls(torch.ones_like(real_logits), torch.zeros_like(fake_logits))


class Loss(Options):
    """An adversarial loss; a subclass writes the two functions.

    `provides` names what techniques may need of it: "labels" where its discriminator loss compares with
    targets. `generator_needs_real` where the generator's loss depends on the logits of real images.
    """

    provides: ClassVar[frozenset[str]] = frozenset()
    generator_needs_real: ClassVar[bool] = False

    def discriminator_loss(self, real_logits: Logits, fake_logits: Logits, targets: Targets) -> Scalar:
        """What the discriminator minimises."""
        raise NotImplementedError  # abstract

    def generator_loss(self, real_logits: Logits | None, fake_logits: Logits) -> Scalar:
        """What the generator minimises; `real_logits` only where `generator_needs_real`."""
        raise NotImplementedError  # abstract


LOSSES: Registry[type[Loss]] = Registry("loss")


@LOSSES.register("bce")
class Bce(Loss):
    """Binary cross-entropy with the non-saturating generator (Goodfellow et al. 2014, end of section 3)."""

    provides: ClassVar[frozenset[str]] = frozenset({"labels"})

    def discriminator_loss(self, real_logits: Logits, fake_logits: Logits, targets: Targets) -> Scalar:
        """-E[t log D + (1-t) log(1-D)] over reals, and over fakes (Shangguan et al. 2020, eq. 7)."""
        return binary_cross_entropy_with_logits(real_logits, targets.real) + binary_cross_entropy_with_logits(
            fake_logits, targets.fake
        )

    def generator_loss(self, real_logits: Logits | None, fake_logits: Logits) -> Scalar:
        """-E[log D(G(z))], whose gradient is strong while the discriminator wins."""
        return softplus(-fake_logits).mean()


@LOSSES.register("minimax")
class Minimax(Bce):
    """The game as it was stated (Goodfellow et al. 2014, eq. 1): the generator minimises log(1 - D(G(z)))."""

    def generator_loss(self, real_logits: Logits | None, fake_logits: Logits) -> Scalar:
        """E[log(1 - D(G(z)))], which saturates while the discriminator wins."""
        return -softplus(fake_logits).mean()
