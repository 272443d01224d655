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
    """The differentiable gradient of each image's logit by the image, flattened.

    For several outputs per image it is the gradient of their mean.
    """
    (gradient,) = torch.autograd.grad(mean_of_outputs(logits).sum(), images, create_graph=True)
    return gradient.flatten(1).float()


class SquaredGradient(LossTerm):
    """Half the mean squared gradient norm on real images or fakes; `weight` is gamma.

    `decay` reduces gamma to `final` times its value over the share `until` of the run.
    """

    weight: float = Field(10.0, ge=0, allow_inf_nan=False)
    decay: Decay = "constant"
    final: float = Field(0.1, ge=0, allow_inf_nan=False)
    until: float = Field(1.0, gt=0, le=1)

    def factor_at(self, progress: float) -> float:
        return decayed(self.decay, 1.0, self.final, progress / self.until)

    def penalty(self, logits: Logits | None, images: Images | None, progress: float) -> Scalar:
        """1/2 E|grad_x D(x)|^2, times the factor on gamma."""
        assert logits is not None
        assert images is not None
        return 0.5 * self.factor_at(progress) * gradients(logits, images).square().sum(1).mean()


@TECHNIQUES.register("r1")
class R1(SquaredGradient):
    """The gradient penalty on real images (Mescheder et al. 2018, arXiv 1801.04406, eq. 9)."""

    gradients_of: ClassVar[frozenset[Kind]] = frozenset({"real"})

    def discriminator_term(self, output: ForwardOutput) -> Scalar:
        return self.penalty(output.real_logits, output.real, output.context.progress)


@TECHNIQUES.register("r2")
class R2(SquaredGradient):
    """The gradient penalty on generated images (Mescheder et al. 2018; see Roth et al. 2017)."""

    gradients_of: ClassVar[frozenset[Kind]] = frozenset({"fake"})

    def discriminator_term(self, output: ForwardOutput) -> Scalar:
        return self.penalty(output.fake_logits, output.fake, output.context.progress)


class SlopePenalty(LossTerm):
    """The mean squared distance of the gradient norm from `target`, at points that a subclass chooses.

    With `one_sided`, norms below `target` are not penalized.
    """

    weight: float = Field(10.0, ge=0, allow_inf_nan=False)
    target: float = Field(1.0, ge=0, allow_inf_nan=False)
    one_sided: bool = False

    def points(self, output: ForwardOutput) -> Images:
        """The points at which the gradient is measured."""
        raise NotImplementedError  # abstract

    def discriminator_term(self, output: ForwardOutput) -> Scalar:
        """E(|grad_x D(x)| - target)^2."""
        points = self.points(output).detach().requires_grad_()
        # PyTorch takes 0 as the derivative of the norm at 0.
        excess = torch.linalg.vector_norm(gradients(output.discriminate(points), points), dim=1) - self.target
        return (relu(excess) if self.one_sided else excess).square().mean()


@TECHNIQUES.register("gradient_penalty")
class GradientPenalty(SlopePenalty):
    """Slopes of 1 between real and generated images (Gulrajani et al. 2017, arXiv 1704.00028, eq. 3)."""

    def points(self, output: ForwardOutput) -> Images:
        """Random points between pairs of a real image and a fake, as the discriminator saw them."""
        assert output.real_seen is not None
        share = per_image(output.context.random("gradient_penalty").uniform(len(output.fake_seen)))
        return torch.lerp(output.fake_seen, output.real_seen, share)


@TECHNIQUES.register("dragan")
class Dragan(SlopePenalty):
    """Slopes of 1 around the real images (Kodali et al. 2017, arXiv 1705.07215, as in their code).

    Each image moves along noise, uniform on [0, 1) times `spread` times the batch's standard deviation, by a
    uniform share per image.
    """

    spread: PositiveFloat = 0.5

    def points(self, output: ForwardOutput) -> Images:
        real = output.real_seen
        assert real is not None
        random = output.context.random("dragan")
        noise = random.uniform(*real.shape)
        share = per_image(random.uniform(len(real)))
        return real + share * self.spread * variance_over_ranks(real).sqrt() * noise
