"""Adversarial losses: what each player minimises, as two functions of both logits.

Logits are raw, for real images and for fakes, so that relativistic losses fit the same seam: (batch), or
(batch, outputs) of a discriminator with several heads or patches. Each output then plays the game by itself,
and the loss is the mean over all of them.
"""

from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float
from pydantic import PositiveFloat
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, relu, softplus

from kennel.config.base import Config
from kennel.distributed import all_gather, world_size
from kennel.registry import Registry
from kennel.shapes import Distances, Logits, Scalar
from kennel.shapes import Targets as TargetValues


class Targets(NamedTuple):
    """What the discriminator's sigmoid should say of each real and each fake image, in [0, 1].

    `distances` is how far the two images of each pair are apart, for a loss that `compares_images`: the mean
    absolute difference of their pixels.
    """

    real: TargetValues
    fake: TargetValues
    distances: Distances | None = None

    @classmethod
    def for_logits(cls, real_logits: Tensor, fake_logits: Tensor) -> "Targets":
        """The hard labels, one an image: 1 for real, 0 for fake."""
        return cls(real_logits.new_ones(len(real_logits)), fake_logits.new_zeros(len(fake_logits)))


def for_outputs(values: Float[Tensor, "batch"], logits: Logits) -> Logits:
    """One value an image as one for each of its outputs, of the shape of `logits`."""
    return values if logits.ndim == 1 else values[:, None].expand_as(logits)


def per_image(logits: Logits) -> Float[Tensor, "batch"]:
    """One number an image: the mean of its outputs."""
    return logits if logits.ndim == 1 else logits.mean(1)


def of_all_ranks(
    real_logits: Logits, fake_logits: Logits, targets: Targets
) -> tuple[Logits, Logits, Targets]:
    """The logits and targets of the whole batch, from the rows that each rank has.

    On them a loss may compare any image with any other, and never hears of ranks.
    """
    if world_size() == 1:
        return real_logits, fake_logits, targets
    there = [real_logits, fake_logits, targets.real, targets.fake]
    if targets.distances is not None:
        there.append(targets.distances)
    columns = [one[:, None] if one.ndim == 1 else one for one in there]
    parts = torch.split(all_gather(torch.cat(columns, 1)), [one.shape[1] for one in columns], 1)
    whole = [part.squeeze(1) if one.ndim == 1 else part for part, one in zip(parts, there, strict=True)]
    return whole[0], whole[1], Targets(*whole[2:])


class Loss(Config):
    """An adversarial loss; a subclass writes the two functions, of the logits of the whole batch.

    `provides` names what techniques may need of it: "labels" where its discriminator loss compares with
    targets. `generator_needs_real` where the generator's loss depends on the logits of real images.
    `compares_images` where the discriminator's loss looks at `targets.distances`.
    """

    provides: ClassVar[frozenset[str]] = frozenset()
    generator_needs_real: ClassVar[bool] = False
    compares_images: ClassVar[bool] = False

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
        real, fake = for_outputs(targets.real, real_logits), for_outputs(targets.fake, fake_logits)
        return binary_cross_entropy_with_logits(real_logits, real) + binary_cross_entropy_with_logits(
            fake_logits, fake
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


@LOSSES.register("lsgan")
class Lsgan(Loss):
    """Least squares (Mao et al. 2017, arXiv 1611.04076), in the coding a, b, c.

    The discriminator should say b of real images and a of fakes; the generator wants it to say c. The paper
    has two codings: (-1, 1, 0), which minimises Pearson's chi-squared divergence, and (0, 1, 1), the default
    here. The sigmoid is left out: logits are compared with the codes as they are.
    """

    provides: ClassVar[frozenset[str]] = frozenset({"labels"})

    a: float = 0.0
    b: float = 1.0
    c: float = 1.0

    def discriminator_loss(self, real_logits: Logits, fake_logits: Logits, targets: Targets) -> Scalar:
        """E[(D(x) - b)^2] / 2 + E[(D(G(z)) - a)^2] / 2; a target t between 0 and 1 lies between a and b."""
        real, fake = for_outputs(targets.real, real_logits), for_outputs(targets.fake, fake_logits)
        real_codes, fake_codes = (self.a + (self.b - self.a) * one for one in (real, fake))
        return ((real_logits - real_codes).square().mean() + (fake_logits - fake_codes).square().mean()) / 2

    def generator_loss(self, real_logits: Logits | None, fake_logits: Logits) -> Scalar:
        """E[(D(G(z)) - c)^2] / 2."""
        return (fake_logits - self.c).square().mean() / 2


@LOSSES.register("hinge")
class Hinge(Loss):
    """The hinge loss (Lim and Ye 2017, arXiv 1705.02894; Tran et al. 2017), of SNGAN, SAGAN and BigGAN."""

    def discriminator_loss(self, real_logits: Logits, fake_logits: Logits, targets: Targets) -> Scalar:
        """E[max(0, 1 - D(x))] + E[max(0, 1 + D(G(z)))]: what is told apart by a margin teaches no more."""
        return relu(1 - real_logits).mean() + relu(1 + fake_logits).mean()

    def generator_loss(self, real_logits: Logits | None, fake_logits: Logits) -> Scalar:
        """-E[D(G(z))]."""
        return -fake_logits.mean()


@LOSSES.register("wgan")
class Wgan(Loss):
    """The Wasserstein critic (Arjovsky et al. 2017, arXiv 1701.07875, eq. 2 and algorithm 1).

    The critic must be held to a Lipschitz constant by a technique: `weight_clipping`, `gradient_penalty`,
    `dragan` or `spectral_norm`. Minus its loss estimates the distance, up to that constant.
    """

    def discriminator_loss(self, real_logits: Logits, fake_logits: Logits, targets: Targets) -> Scalar:
        """E[D(G(z))] - E[D(x)]."""
        return fake_logits.mean() - real_logits.mean()

    def generator_loss(self, real_logits: Logits | None, fake_logits: Logits) -> Scalar:
        """-E[D(G(z))]."""
        return -fake_logits.mean()


class Relativistic(Loss):
    """Losses of how much more real an image looks than the other side's average (Jolicoeur-Martineau 2018).

    arXiv 1807.00734, section 4: D(x) - E[D(G(z))] for real images and D(G(z)) - E[D(x)] for fakes. The
    generator plays the same game with the sides exchanged, so it needs the logits of real images.
    """

    generator_needs_real: ClassVar[bool] = True

    def generator_loss(self, real_logits: Logits | None, fake_logits: Logits) -> Scalar:
        """The discriminator's loss with real and fake exchanged."""
        assert real_logits is not None, "generator_needs_real brings them"
        return self.discriminator_loss(fake_logits, real_logits, Targets.for_logits(fake_logits, real_logits))


@LOSSES.register("ralsgan")
class Ralsgan(Relativistic):
    """Relativistic average least squares (Jolicoeur-Martineau 2018; halved as in her code)."""

    def discriminator_loss(self, real_logits: Logits, fake_logits: Logits, targets: Targets) -> Scalar:
        """E[(D(x) - E[D(G(z))] - 1)^2] / 2 + E[(D(G(z)) - E[D(x)] + 1)^2] / 2."""
        real_over = real_logits - fake_logits.mean(0)
        fake_over = fake_logits - real_logits.mean(0)
        return ((real_over - 1).square().mean() + (fake_over + 1).square().mean()) / 2


@LOSSES.register("rahinge")
class Rahinge(Relativistic):
    """Relativistic average hinge (Jolicoeur-Martineau 2018; halved as in her code)."""

    def discriminator_loss(self, real_logits: Logits, fake_logits: Logits, targets: Targets) -> Scalar:
        """E[max(0, 1 - D(x) + E[D(G(z))])] / 2 + E[max(0, 1 + D(G(z)) - E[D(x)])] / 2."""
        real_over = real_logits - fake_logits.mean(0)
        fake_over = fake_logits - real_logits.mean(0)
        return (relu(1 - real_over).mean() + relu(1 + fake_over).mean()) / 2


@LOSSES.register("ragan")
class Ragan(Relativistic):
    """Relativistic average GAN with the cross-entropy (Jolicoeur-Martineau 2018, section 4.2)."""

    provides: ClassVar[frozenset[str]] = frozenset({"labels"})

    def discriminator_loss(self, real_logits: Logits, fake_logits: Logits, targets: Targets) -> Scalar:
        """Half the cross-entropies of sigmoid(D(x) - E[D(G(z))]) and sigmoid(D(G(z)) - E[D(x)])."""
        real_over = real_logits - fake_logits.mean(0)
        fake_over = fake_logits - real_logits.mean(0)
        real, fake = for_outputs(targets.real, real_logits), for_outputs(targets.fake, fake_logits)
        real_loss = binary_cross_entropy_with_logits(real_over, real)
        return (real_loss + binary_cross_entropy_with_logits(fake_over, fake)) / 2


@LOSSES.register("relativistic_paired")
class RelativisticPaired(Relativistic):
    """Each real image against the fake beside it (Jolicoeur-Martineau 2018, section 4.1; R3GAN's loss).

    Huang et al. 2024, arXiv 2501.05441, eq. 2, with f(t) = -log(1 + exp(-t)).
    """

    def discriminator_loss(self, real_logits: Logits, fake_logits: Logits, targets: Targets) -> Scalar:
        """E[softplus(-(D(x) - D(G(z))))]."""
        return softplus(fake_logits - real_logits).mean()


@LOSSES.register("loss_sensitive")
class LossSensitive(Loss):
    """The loss-sensitive GAN (Qi 2017, arXiv 1701.06264), with L = -D as the loss of an image.

    A fake must cost more than the real image beside it, by a margin that grows with their distance:
    `scale` times the mean absolute difference of their pixels. `weight` is the paper's lambda.
    """

    compares_images: ClassVar[bool] = True

    weight: PositiveFloat = 1.0
    scale: PositiveFloat = 1.0

    def discriminator_loss(self, real_logits: Logits, fake_logits: Logits, targets: Targets) -> Scalar:
        """E[L(x)] + weight E[max(0, margin + L(x) - L(G(z)))]."""
        assert targets.distances is not None, "compares_images brings them"
        margins = for_outputs(self.scale * targets.distances, real_logits)
        return -real_logits.mean() + self.weight * relu(margins - real_logits + fake_logits).mean()

    def generator_loss(self, real_logits: Logits | None, fake_logits: Logits) -> Scalar:
        """E[L(G(z))]."""
        return -fake_logits.mean()
