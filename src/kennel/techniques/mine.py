"""Mutual information of images and latents."""

import math
from typing import Annotated, ClassVar, cast

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, PrivateAttr
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from kennel.config.recipe import OptimizerConfig
from kennel.distributed import all_gather
from kennel.errors import RecipeError
from kennel.networks import NetworkSpec
from kennel.networks.layers.init import init_linear
from kennel.shapes import Images, Latents, Logits, Scalar
from kennel.techniques.base import TECHNIQUES, AuxiliaryNetwork, ForwardOutput, Networks, StepContext

MAX_SIDE = 32
"""Larger images are average-pooled to at most this side for the statistics network."""


@TECHNIQUES.register("mine")
class Mine(AuxiliaryNetwork):
    """Maximizes the mutual information of images and latents (MINE: Belghazi et al. 2018, arXiv 1801.04062).

    Section 5.1: against mode collapse the generator also maximizes `weight` times the mutual information
    I(G(z); c) of its images and the `code` c, the first numbers of the latent (None: all of it). A statistics
    network T estimates it from below, by the Donsker-Varadhan bound

        I  >=  E[ T(G(z), c) ]  -  log E[ exp T(G(z), c') ]          c' the code of another image

    T is trained to raise the bound, with the paper's correction of the gradient: its denominator is a moving
    average over batches with a half-life of `half_life_images`. The generator's gradient of the bound is
    clipped to the norm of the adversarial gradient. `noise` on T's images keeps the information finite.
    """

    clipped: ClassVar[bool] = True

    code: PositiveInt | None = None
    hidden: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (400, 400)
    noise: NonNegativeFloat = 0.1
    half_life_images: PositiveFloat = 5_000
    optimizer: OptimizerConfig = OptimizerConfig(learning_rate=1e-4, betas=(0.9, 0.999))

    _network: "StatisticsNetwork | None" = PrivateAttr(None)
    _information: Tensor | None = PrivateAttr(None)

    def modify_networks(self, networks: Networks, random: torch.Generator) -> None:
        spec = networks.generator.spec
        if self.code is not None and self.code > spec.latent_dim:
            raise RecipeError(
                f"techniques.mine.code = {self.code} is longer than the latent: give at most "
                f"{spec.latent_dim}, or a larger latent_dim"
            )
        self._network = StatisticsNetwork(spec, self.code or spec.latent_dim, self.hidden, random)

    @property
    def network(self) -> "StatisticsNetwork":
        assert self._network is not None
        return self._network

    def generator_term(self, output: ForwardOutput) -> Scalar:
        return -donsker_varadhan(*self._evaluate(output.fake, output.latents, output.context, "generator"))

    def auxiliary_loss(self, output: ForwardOutput) -> Scalar:
        """Minus the bound, in nats, with the corrected gradient."""
        latents = output.latents.detach()
        joint, marginal = self._evaluate(output.fake.detach(), latents, output.context, "companion")
        bound = donsker_varadhan(joint, marginal)
        log_keep = -math.log(2) * output.context.images_in_step / self.half_life_images
        log_average = self.network.update_average(log_mean_exp(marginal.detach()), log_keep)
        corrected = joint.mean() - (marginal - log_average).exp().mean()
        self._information = bound.detach()
        return -(bound.detach() + corrected - corrected.detach())

    def _evaluate(
        self, images: Images, latents: Latents, context: StepContext, purpose: str
    ) -> tuple[Logits, Logits]:
        """T of each image of all ranks with its own code, and with the code of another image."""
        codes = latents[:, : self.network.code]
        random = context.random(f"mine.{purpose}")
        if self.noise:
            images = images + self.noise * random.normal(*images.shape)
        all_codes = all_gather(codes)
        others = all_codes[random.own(derangement(len(all_codes), random.generator))]
        joint, marginal = self.network(images.repeat(2, 1, 1, 1), torch.cat([codes, others])).chunk(2)
        return all_gather(joint), all_gather(marginal)

    def statistics(self) -> dict[str, Tensor]:
        return {} if self._information is None else {"information": self._information}

    def state_dict(self) -> dict[str, Tensor]:
        return {f"network.{name}": value for name, value in self.network.state_dict().items()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.network.load_state_dict({name.removeprefix("network."): value for name, value in state.items()})


class StatisticsNetwork(nn.Module):
    """T: images, pooled to at most 32 pixels a side, and codes to one number per pair.

    It also keeps the average of exp T over batches, as the logarithms of a decaying sum and of the sum of its
    weights, which cannot overflow.
    """

    log_sum: Tensor
    log_weight: Tensor

    def __init__(
        self, spec: NetworkSpec, code: int, hidden: tuple[int, ...], random: torch.Generator
    ) -> None:
        """Layers of `hidden` widths with ELU; weights are drawn from `random`."""
        super().__init__()
        self.code = code
        self.window = math.ceil(spec.size / MAX_SIDE)
        widths = [spec.channels * math.ceil(spec.size / self.window) ** 2 + code, *hidden]
        layers: list[nn.Module] = []
        for inputs, outputs in zip(widths, hidden, strict=False):
            layers += [init_linear(inputs, outputs, random), nn.ELU()]
        self.layers = nn.Sequential(*layers, init_linear(widths[-1], 1, random))
        self.register_buffer("log_sum", torch.tensor(-torch.inf))
        self.register_buffer("log_weight", torch.tensor(-torch.inf))

    def forward(self, images: Images, codes: Latents) -> Logits:
        if self.window > 1:
            images = avg_pool2d(images, self.window, ceil_mode=True)
        return cast(Logits, self.layers(torch.cat([images.flatten(1), codes], 1).float()).squeeze(1))

    @torch.no_grad()
    def update_average(self, log_mean: Scalar, log_keep: float) -> Scalar:
        """Adds a batch's log E[exp T] with decay exp(log_keep); returns the log of the average."""
        log_new = math.log(-math.expm1(log_keep))  # log(1 - keep)
        self.log_sum.copy_(torch.logaddexp(self.log_sum + log_keep, log_mean + log_new))
        weight = torch.full_like(log_mean, log_new)
        self.log_weight.copy_(torch.logaddexp(self.log_weight + log_keep, weight))
        return self.log_sum - self.log_weight


def donsker_varadhan(joint: Logits, marginal: Logits) -> Scalar:
    """E_joint[T] - log E_marginal[exp T] (Belghazi et al. 2018), a lower bound of the information."""
    return joint.mean() - log_mean_exp(marginal)


def log_mean_exp(values: Logits) -> Scalar:
    return values.logsumexp(0) - math.log(len(values))


def derangement(count: int, random: torch.Generator) -> Tensor:
    """A random permutation without fixed points."""
    order = torch.randperm(count, generator=random, device=random.device)
    partner = torch.empty_like(order)
    partner[order] = order.roll(1)
    return partner
