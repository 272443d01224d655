"""Batch norm by a reference batch, so that an image does not depend on its company."""

from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from kennel.errors import RecipeError
from kennel.networks import NetworkSpec
from kennel.shapes import Features
from kennel.techniques.base import TECHNIQUES, Networks, Technique

REPLACED = (nn.BatchNorm1d, nn.BatchNorm2d)


@TECHNIQUES.register("virtual_batch_norm")
class VirtualBatchNorm(Technique):
    """The generator's batch norms go by a fixed reference batch (Salimans et al. 2016, section 3.5).

    `reference` latents from the prior, and labels where there are classes, as often as the training set has
    each, are drawn once.
    They go through the generator in front of every batch, and every batch norm of the generator takes its
    statistics from them and, with the weight of one image among them, from the image itself. The generator
    alone, as in the paper.
    """

    reference: int = Field(64, ge=2)

    def modify_networks(self, networks: Networks, random: torch.Generator) -> None:
        """Replaces the batch norms; the reference batch becomes part of the generator."""
        generator = networks.generator
        found = [
            (parent, name, child)
            for parent in generator.modules()
            for name, child in parent.named_children()
            if isinstance(child, REPLACED)
        ]
        if not found:
            raise RecipeError(
                "virtual_batch_norm takes the place of the generator's batch norm, and this generator has "
                "none: take one that has some (such as dcgan), or --set techniques.virtual_batch_norm=off"
            )
        for parent, name, child in found:
            setattr(parent, name, ReferenceNorm(child, self.reference))
        batch = ReferenceBatch(generator.spec, self.reference, random)
        generator.reference_batch = batch
        # Bound methods of a submodule: a copy of the generator gets hooks of its own copy.
        generator.register_forward_pre_hook(batch.put_before, with_kwargs=True)
        generator.register_forward_hook(batch.take_off)


class ReferenceBatch(nn.Module):
    """Latents and labels that go through a generator in front of every batch, in the same pass."""

    latents: Tensor
    labels: Tensor

    def __init__(
        self,
        spec: NetworkSpec,
        count: int,
        random: torch.Generator,
    ) -> None:
        """Draws `count` latents and labels from `random`."""
        super().__init__()
        shape = (count, spec.latent_dim)
        if spec.latent_distribution == "uniform":
            latents = torch.rand(shape, generator=random) * 2 - 1
        else:
            latents = torch.randn(shape, generator=random)
        self.register_buffer("latents", latents)
        # As often as the set has each class, as in training; without labels nobody reads them. Instances are
        # all alike: how often each is shown is not known yet.
        weights = torch.tensor(spec.class_counts or (1,) * max(1, spec.num_labels), dtype=torch.float64)
        labels = torch.multinomial(weights, count, replacement=True, generator=random)
        self.register_buffer("labels", labels)

    def put_before(
        self, generator: nn.Module, given: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """A forward pre-hook: `generator(latents, labels)` gets the reference batch in front of both."""
        entries = dict(zip(("latents", "labels"), given, strict=False)) | named
        latents, labels = entries["latents"], entries.get("labels")
        latents = torch.cat([self.latents.to(latents.dtype), latents])
        return (latents, None if labels is None else torch.cat([self.labels, labels])), {}

    def take_off(self, generator: nn.Module, given: tuple[Any, ...], images: Tensor) -> Tensor:
        """A forward hook: the images of the batch alone."""
        return images[len(self.latents) :]


class ReferenceNorm(nn.Module):
    """Normalizes maps whose first `reference` rows are the reference batch.

    Those go by their own mean and variance, as in batch norm. Every other image has, for each channel,

        mean    =  w mean(x) + (1 - w) mean of the reference          w = 1 / (reference + 1)
        E[x^2]  =  w E[x^2]  + (1 - w) E[x^2] of the reference

    where the image's own averages are over its height and width. In training and in evaluation alike.
    """

    weight: nn.Parameter | None
    bias: nn.Parameter | None

    def __init__(self, replaced: nn.BatchNorm1d | nn.BatchNorm2d, reference: int) -> None:
        """Takes over gain, bias (where there are some) and epsilon of the `replaced` layer."""
        super().__init__()
        self.reference = reference
        self.eps = replaced.eps
        self.register_parameter("weight", replaced.weight)
        self.register_parameter("bias", replaced.bias)

    def forward(self, maps: Tensor) -> Tensor:
        """(reference + batch, channels) or (reference + batch, channels, height, width) to the same."""
        exact = maps.to(torch.promote_types(maps.dtype, torch.float32))
        mean, variance = self._mixed(*_of_each_image(exact))
        scale = (variance + self.eps).rsqrt()
        if self.weight is not None:
            scale = scale * self.weight
        shift = -mean * scale
        if self.bias is not None:
            shift = shift + self.bias
        spatial = (..., *([None] * (maps.ndim - 2)))
        return torch.addcmul(shift[spatial], exact, scale[spatial]).to(maps.dtype)

    def _mixed(self, mean: Features, variance: Features) -> tuple[Features, Features]:
        """What each row is normalized by, from each row's own mean and variance (both rows, channels)."""
        own, of_reference = mean[self.reference :], mean[: self.reference]
        middle = of_reference.mean(0)
        spread = variance[: self.reference].mean(0) + of_reference.var(0, correction=0)
        share = 1 / (self.reference + 1)
        mixed = middle.lerp(own, share)
        # E[x^2] - E[x]^2 of the mixture, without the difference of two large numbers.
        distance = (own - middle).square()
        mixed_spread = spread.lerp(variance[self.reference :], share) + share * (1 - share) * distance
        rows = (self.reference, -1)
        return torch.cat([middle.expand(rows), mixed]), torch.cat([spread.expand(rows), mixed_spread])


def _of_each_image(maps: Tensor) -> tuple[Features, Features]:
    """Mean and variance over height and width, (batch, channels) each; one number has no variance."""
    if maps.ndim == 2:
        return maps, torch.zeros_like(maps)
    variance, mean = torch.var_mean(maps, dim=tuple(range(2, maps.ndim)), correction=0)
    return mean, variance
