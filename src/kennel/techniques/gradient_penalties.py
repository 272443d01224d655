"""Penalties on the discriminator's gradient with respect to images."""

from typing import ClassVar

import torch
from jaxtyping import Float
from pydantic import Field, PositiveFloat
from torch import Tensor
from torch.nn.functional import relu

from kennel.config.schedules import Decay, decayed
from kennel.distributed import variance_over_ranks
from kennel.losses import per_image as mean_of_outputs
from kennel.shapes import Images, Logits, Scalar
from kennel.techniques._image_ops import per_image
from kennel.techniques.base import TECHNIQUES, ForwardOutput, Kind, LossTerm


def gradients(logits: Logits, images: Images) -> Float[Tensor, "batch pixels"]:
    """The gradient of each logit with respect to its image, flat, fit to be differentiated again.

    Of several outputs an image it is the gradient of their mean.
    """
    (gradient,) = torch.autograd.grad(mean_of_outputs(logits).sum(), images, create_graph=True)
    return gradient.flatten(1).float()


class SquaredGradient(LossTerm):
    """Half the mean squared norm of the gradient on one side's images; `weight` is gamma.

    `decay` takes gamma to `final` times itself while the run goes to `until` (a share of its budget).
    """

    weight: float = Field(10.0, ge=0, allow_inf_nan=False)
    decay: Decay = "constant"
    final: float = Field(0.1, ge=0, allow_inf_nan=False)
    until: float = Field(1.0, gt=0, le=1)

    def factor_at(self, progress: float) -> float:
        """What is left of gamma at this share of the run."""
        return decayed(self.decay, 1.0, self.final, progress / self.until)

    def penalty(self, logits: Logits | None, images: Images | None, progress: float) -> Scalar:
        """1/2 E|grad_x D(x)|^2, times what is left of gamma."""
        assert logits is not None
        assert images is not None  # both sides are there in the discriminator's turn
        return 0.5 * self.factor_at(progress) * gradients(logits, images).square().sum(1).mean()


@TECHNIQUES.register("r1")
class R1(SquaredGradient):
    """The gradient penalty on real images (Mescheder et al. 2018, arXiv 1801.04406, eq. 9)."""

    gradients_of: ClassVar[frozenset[Kind]] = frozenset({"real"})

    def discriminator_term(self, output: ForwardOutput) -> Scalar:
        """gamma/2 E|grad D|^2 over the real images as they came from the set."""
        return self.penalty(output.real_logits, output.real, output.context.progress)


@TECHNIQUES.register("r2")
class R2(SquaredGradient):
    """The gradient penalty on generated images (Mescheder et al. 2018; see Roth et al. 2017)."""

    gradients_of: ClassVar[frozenset[Kind]] = frozenset({"fake"})

    def discriminator_term(self, output: ForwardOutput) -> Scalar:
        """gamma/2 E|grad D|^2 over the images as they came from the generator."""
        return self.penalty(output.fake_logits, output.fake, output.context.progress)


class SlopePenalty(LossTerm):
    """The mean squared distance of the gradient's norm from `target`, at points that a subclass chooses.

    With `one_sided`, a norm below `target` costs nothing.
    """

    weight: float = Field(10.0, ge=0, allow_inf_nan=False)
    target: float = Field(1.0, ge=0, allow_inf_nan=False)
    one_sided: bool = False

    def points(self, output: ForwardOutput) -> Images:
        """Where the gradient is measured."""
        raise NotImplementedError  # abstract

    def discriminator_term(self, output: ForwardOutput) -> Scalar:
        """E(|grad_x D(x)| - target)^2."""
        points = self.points(output).detach().requires_grad_()
        # The norm's derivative at 0, where it has none, is taken for 0.
        excess = torch.linalg.vector_norm(gradients(output.discriminate(points), points), dim=1) - self.target
        return (relu(excess) if self.one_sided else excess).square().mean()


@TECHNIQUES.register("gradient_penalty")
class GradientPenalty(SlopePenalty):
    """Slopes of 1 between real and generated images (Gulrajani et al. 2017, arXiv 1704.00028, eq. 3)."""

    def points(self, output: ForwardOutput) -> Images:
        """Between each real image and the fake beside it, both as the discriminator saw them."""
        assert output.real_seen is not None  # always there in the discriminator's turn
        share = per_image(output.context.random("gradient_penalty").uniform(len(output.fake_seen)))
        return torch.lerp(output.fake_seen, output.real_seen, share)


@TECHNIQUES.register("dragan")
class Dragan(SlopePenalty):
    """Slopes of 1 around the real images (Kodali et al. 2017, arXiv 1705.07215, as in their code).

    Each image is moved along noise that is uniform on [0, 1) times `spread` times the batch's standard
    deviation, by a share of its own, uniform too.
    """

    spread: PositiveFloat = 0.5

    def points(self, output: ForwardOutput) -> Images:
        """The real images, disturbed."""
        real = output.real_seen
        assert real is not None  # always there in the discriminator's turn
        random = output.context.random("dragan")
        noise = random.uniform(*real.shape)
        share = per_image(random.uniform(len(real)))
        return real + share * self.spread * variance_over_ranks(real).sqrt() * noise
