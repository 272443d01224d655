"""Adversarial losses of both networks, as functions of the logits of real images and of fakes.

Logits are raw: (batch), or (batch, outputs) for a discriminator with several heads or patches. A loss is the
mean over outputs.
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
    """Labels in [0, 1] for each real and each fake image.

    `distances` is the mean absolute pixel difference of each pair of images, for a loss that
    `compares_images`.
    """

    real: TargetValues
    fake: TargetValues
    distances: Distances | None = None

    @classmethod
    def for_logits(cls, real_logits: Tensor, fake_logits: Tensor) -> "Targets":
        """Hard labels, one per image: 1 for real, 0 for fake."""
        return cls(real_logits.new_ones(len(real_logits)), fake_logits.new_zeros(len(fake_logits)))


def expand_to_outputs(values: Float[Tensor, "batch"], logits: Logits) -> Logits:
    """Repeats one value per image for each output; the result has the shape of `logits`."""
    return values if logits.ndim == 1 else values[:, None].expand_as(logits)


def per_image(logits: Logits) -> Float[Tensor, "batch"]:
    """The mean over an image's outputs."""
    return logits if logits.ndim == 1 else logits.mean(1)


def of_all_ranks(
    real_logits: Logits, fake_logits: Logits, targets: Targets
) -> tuple[Logits, Logits, Targets]:
    """The logits and targets of the whole batch, gathered from the rows of each rank."""
    if world_size() == 1:
        return real_logits, fake_logits, targets
    tensors = [real_logits, fake_logits, targets.real, targets.fake]
    if targets.distances is not None:
        tensors.append(targets.distances)
    columns = [one[:, None] if one.ndim == 1 else one for one in tensors]
    parts = torch.split(all_gather(torch.cat(columns, 1)), [one.shape[1] for one in columns], 1)
    whole = [part.squeeze(1) if one.ndim == 1 else part for part, one in zip(parts, tensors, strict=True)]
    return whole[0], whole[1], Targets(*whole[2:])


class Loss(Config):
    """An adversarial loss; a subclass implements two functions of the logits of the whole batch.

    `provides` lists what techniques may need: "labels" if the discriminator's loss compares with targets.
    `generator_needs_real` is True if the generator's loss depends on the logits of real images,
    `compares_images` if the discriminator's loss uses `targets.distances`.
    """

    provides: ClassVar[frozenset[str]] = frozenset()
    generator_needs_real: ClassVar[bool] = False
    compares_images: ClassVar[bool] = False

    def discriminator_loss(self, real_logits: Logits, fake_logits: Logits, targets: Targets) -> Scalar:
        """The loss that the discriminator minimizes."""
        raise NotImplementedError  # abstract

    def generator_loss(self, real_logits: Logits | None, fake_logits: Logits) -> Scalar:
        """The loss that the generator minimizes; `real_logits` are None unless `generator_needs_real`."""
        raise NotImplementedError  # abstract


LOSSES: Registry[type[Loss]] = Registry("loss")


@LOSSES.register("bce")
class Bce(Loss):
    """Binary cross-entropy with the non-saturating generator (Goodfellow et al. 2014, end of section 3)."""

    provides: ClassVar[frozenset[str]] = frozenset({"labels"})

    def discriminator_loss(self, real_logits: Logits, fake_logits: Logits, targets: Targets) -> Scalar:
        """-E[t log D + (1-t) log(1-D)] over reals, and over fakes (Shangguan et al. 2020, eq. 7)."""
        real, fake = _label_pair(real_logits, fake_logits, targets)
        real_loss = binary_cross_entropy_with_logits(real_logits, real)
        return real_loss + binary_cross_entropy_with_logits(fake_logits, fake)

    def generator_loss(self, real_logits: Logits | None, fake_logits: Logits) -> Scalar:
        """-E[log D(G(z))], which has a large gradient while the discriminator wins."""
        return softplus(-fake_logits).mean()


@LOSSES.register("minimax")
class Minimax(Bce):
    """The original minimax game (Goodfellow et al. 2014, eq. 1): the generator minimizes log(1 - D(G(z)))."""

    def generator_loss(self, real_logits: Logits | None, fake_logits: Logits) -> Scalar:
        """E[log(1 - D(G(z)))], which saturates while the discriminator wins."""
        return -softplus(fake_logits).mean()


@LOSSES.register("lsgan")
class Lsgan(Loss):
    """Least squares (Mao et al. 2017, arXiv 1611.04076), with the codes a, b, c.

    The discriminator's target is b for real images and a for fakes; the generator's target is c. The paper
    has two codings: (-1, 1, 0), which minimizes Pearson's chi-squared divergence, and (0, 1, 1), the default
    here. There is no sigmoid: logits are compared with the codes directly.
    """

    provides: ClassVar[frozenset[str]] = frozenset({"labels"})

    a: float = 0.0
    b: float = 1.0
    c: float = 1.0

    def discriminator_loss(self, real_logits: Logits, fake_logits: Logits, targets: Targets) -> Scalar:
        """E[(D(x) - b)^2] / 2 + E[(D(G(z)) - a)^2] / 2; a soft target t is a + (b - a) t."""
        labels = _label_pair(real_logits, fake_logits, targets)
        real_codes, fake_codes = (self.a + (self.b - self.a) * one for one in labels)
        return ((real_logits - real_codes).square().mean() + (fake_logits - fake_codes).square().mean()) / 2

    def generator_loss(self, real_logits: Logits | None, fake_logits: Logits) -> Scalar:
        return (fake_logits - self.c).square().mean() / 2


@LOSSES.register("hinge")
class Hinge(Loss):
    """The hinge loss (Lim and Ye 2017, arXiv 1705.02894; Tran et al. 2017) of SNGAN, SAGAN and BigGAN."""

    def discriminator_loss(self, real_logits: Logits, fake_logits: Logits, targets: Targets) -> Scalar:
        """E[max(0, 1 - D(x))] + E[max(0, 1 + D(G(z)))]."""
        return relu(1 - real_logits).mean() + relu(1 + fake_logits).mean()

    def generator_loss(self, real_logits: Logits | None, fake_logits: Logits) -> Scalar:
        """-E[D(G(z))]."""
        return -fake_logits.mean()


@LOSSES.register("wgan")
class Wgan(Loss):
    """The Wasserstein critic (Arjovsky et al. 2017, arXiv 1701.07875, eq. 2 and algorithm 1).

    A technique must bound the critic's Lipschitz constant: `weight_clipping`, `gradient_penalty`, `dragan` or
    `spectral_norm`. Minus the critic's loss estimates the distance, up to that constant.
    """

    def discriminator_loss(self, real_logits: Logits, fake_logits: Logits, targets: Targets) -> Scalar:
        """E[D(G(z))] - E[D(x)]."""
        return fake_logits.mean() - real_logits.mean()

    def generator_loss(self, real_logits: Logits | None, fake_logits: Logits) -> Scalar:
        """-E[D(G(z))]."""
        return -fake_logits.mean()


class Relativistic(Loss):
    """Losses of the difference between an image's logit and the mean logit of the other side.

    Jolicoeur-Martineau 2018, arXiv 1807.00734, section 4: D(x) - E[D(G(z))] for real images and
    D(G(z)) - E[D(x)] for fakes. The generator's loss is the discriminator's with both sides exchanged.
    """

    generator_needs_real: ClassVar[bool] = True

    def generator_loss(self, real_logits: Logits | None, fake_logits: Logits) -> Scalar:
        """The discriminator's loss with real and fake exchanged."""
        assert real_logits is not None  # generator_needs_real
        return self.discriminator_loss(fake_logits, real_logits, Targets.for_logits(fake_logits, real_logits))


@LOSSES.register("ralsgan")
class Ralsgan(Relativistic):
    """Relativistic average least squares (Jolicoeur-Martineau 2018; halved as in her code)."""

    def discriminator_loss(self, real_logits: Logits, fake_logits: Logits, targets: Targets) -> Scalar:
        """E[(D(x) - E[D(G(z))] - 1)^2] / 2 + E[(D(G(z)) - E[D(x)] + 1)^2] / 2."""
        real, fake = _relative(real_logits, fake_logits)
        return ((real - 1).square().mean() + (fake + 1).square().mean()) / 2


@LOSSES.register("rahinge")
class Rahinge(Relativistic):
    """Relativistic average hinge (Jolicoeur-Martineau 2018; halved as in her code)."""

    def discriminator_loss(self, real_logits: Logits, fake_logits: Logits, targets: Targets) -> Scalar:
        """E[max(0, 1 - D(x) + E[D(G(z))])] / 2 + E[max(0, 1 + D(G(z)) - E[D(x)])] / 2."""
        real, fake = _relative(real_logits, fake_logits)
        return (relu(1 - real).mean() + relu(1 + fake).mean()) / 2


@LOSSES.register("ragan")
class Ragan(Relativistic):
    """Relativistic average GAN with the cross-entropy (Jolicoeur-Martineau 2018, section 4.2)."""

    provides: ClassVar[frozenset[str]] = frozenset({"labels"})

    def discriminator_loss(self, real_logits: Logits, fake_logits: Logits, targets: Targets) -> Scalar:
        """Half the cross-entropies of sigmoid(D(x) - E[D(G(z))]) and sigmoid(D(G(z)) - E[D(x)])."""
        relative = _relative(real_logits, fake_logits)
        real, fake = map(binary_cross_entropy_with_logits, relative, _label_pair(*relative, targets))
        return (real + fake) / 2


@LOSSES.register("relativistic_paired")
class RelativisticPaired(Relativistic):
    """The difference of each real image and one fake (Jolicoeur-Martineau 2018, section 4.1; R3GAN's loss).

    Huang et al. 2024, arXiv 2501.05441, eq. 2, with f(t) = -log(1 + exp(-t)).
    """

    def discriminator_loss(self, real_logits: Logits, fake_logits: Logits, targets: Targets) -> Scalar:
        """E[softplus(-(D(x) - D(G(z))))]."""
        return softplus(fake_logits - real_logits).mean()


@LOSSES.register("loss_sensitive")
class LossSensitive(Loss):
    """The loss-sensitive GAN (Qi 2017, arXiv 1701.06264), with L = -D as the loss of an image.

    A fake must have a higher loss than its paired real image, by a margin of `scale` times the mean absolute
    difference of their pixels. `weight` is the paper's lambda.
    """

    compares_images: ClassVar[bool] = True

    weight: PositiveFloat = 1.0
    scale: PositiveFloat = 1.0

    def discriminator_loss(self, real_logits: Logits, fake_logits: Logits, targets: Targets) -> Scalar:
        """E[L(x)] + weight E[max(0, margin + L(x) - L(G(z)))]."""
        assert targets.distances is not None  # compares_images
        margins = expand_to_outputs(self.scale * targets.distances, real_logits)
        return -real_logits.mean() + self.weight * relu(margins - real_logits + fake_logits).mean()

    def generator_loss(self, real_logits: Logits | None, fake_logits: Logits) -> Scalar:
        return -fake_logits.mean()


def _label_pair(real_logits: Logits, fake_logits: Logits, targets: Targets) -> tuple[Logits, Logits]:
    """The labels of real images and of fakes, of the shape of the logits."""
    return expand_to_outputs(targets.real, real_logits), expand_to_outputs(targets.fake, fake_logits)


def _relative(real_logits: Logits, fake_logits: Logits) -> tuple[Logits, Logits]:
    """Each side's logits minus the mean logit of the other side."""
    return real_logits - fake_logits.mean(0), fake_logits - real_logits.mean(0)
