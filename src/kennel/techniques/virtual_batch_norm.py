"""Virtual batch norm: statistics of a reference batch, independent of the other images of the batch."""

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
    """The generator's batch norms use the statistics of a fixed reference batch (Salimans et al. 2016,
    section 3.5).

    `reference` latents from the prior are drawn once, with labels at the training set's class frequencies.
    They pass through the generator in front of every batch. Every batch norm of the generator takes its
    statistics from them and, with the weight of one image among them, from the image itself. Applied to the
    generator only, as in the paper.
    """

    reference: int = Field(64, ge=2)

    def modify_networks(self, networks: Networks, random: torch.Generator) -> None:
        generator = networks.generator
        found = [
            (parent, name, child)
            for parent in generator.modules()
            for name, child in parent.named_children()
            if isinstance(child, REPLACED)
        ]
        if not found:
            raise RecipeError(
                "virtual_batch_norm replaces the generator's batch norm, and this generator has none: choose "
                "one with batch norm (such as dcgan), or --set techniques.virtual_batch_norm=off"
            )
        for parent, name, child in found:
            setattr(parent, name, ReferenceNorm(child, self.reference))
        batch = ReferenceBatch(generator.spec, self.reference, random)
        generator.reference_batch = batch
        # Bound methods of a submodule, so that the hooks of a copied generator use its own copy.
        generator.register_forward_pre_hook(batch.prepend, with_kwargs=True)
        generator.register_forward_hook(batch.remove)


class ReferenceBatch(nn.Module):
    """Latents and labels that a generator processes in front of every batch."""

    latents: Tensor
    labels: Tensor

    def __init__(self, spec: NetworkSpec, count: int, random: torch.Generator) -> None:
        super().__init__()
        shape = (count, spec.latent_dim)
        if spec.latent_distribution == "uniform":
            latents = torch.rand(shape, generator=random) * 2 - 1
        else:
            latents = torch.randn(shape, generator=random)
        self.register_buffer("latents", latents)
        # At class frequencies, as in training; unused without classes. Instances have equal weights, as their
        # frequencies are not known yet.
        weights = torch.tensor(spec.class_counts or (1,) * max(1, spec.num_labels), dtype=torch.float64)
        labels = torch.multinomial(weights, count, replacement=True, generator=random)
        self.register_buffer("labels", labels)

    def prepend(
        self, generator: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """A forward pre-hook of `generator(latents, labels)`: prepends the reference batch."""
        entries = dict(zip(("latents", "labels"), args, strict=False)) | kwargs
        latents, labels = entries["latents"], entries.get("labels")
        latents = torch.cat([self.latents.to(latents.dtype), latents])
        return (latents, None if labels is None else torch.cat([self.labels, labels])), {}

    def remove(self, generator: nn.Module, args: tuple[Any, ...], images: Tensor) -> Tensor:
        """A forward hook: removes the images of the reference batch."""
        return images[len(self.latents) :]


class ReferenceNorm(nn.Module):
    """Normalizes feature maps; the first `reference` rows are the reference batch.

    Those are normalized by their own mean and variance, as in batch norm. For every other image and each
    channel,

        mean    =  w mean(x) + (1 - w) mean of the reference          w = 1 / (reference + 1)
        E[x^2]  =  w E[x^2]  + (1 - w) E[x^2] of the reference

    with the image's averages over height and width. The same in training and in evaluation.
    """

    weight: nn.Parameter | None
    bias: nn.Parameter | None

    def __init__(self, replaced: nn.BatchNorm1d | nn.BatchNorm2d, reference: int) -> None:
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
        """The statistics for each row, from each row's own mean and variance (both rows, channels)."""
        own, of_reference = mean[self.reference :], mean[: self.reference]
        center = of_reference.mean(0)
        spread = variance[: self.reference].mean(0) + of_reference.var(0, correction=0)
        share = 1 / (self.reference + 1)
        mixed = center.lerp(own, share)
        # E[x^2] - E[x]^2 of the mixture, without a difference of large numbers.
        distance = (own - center).square()
        mixed_spread = spread.lerp(variance[self.reference :], share) + share * (1 - share) * distance
        rows = (self.reference, -1)
        return torch.cat([center.expand(rows), mixed]), torch.cat([spread.expand(rows), mixed_spread])


def _of_each_image(maps: Tensor) -> tuple[Features, Features]:
    """Mean and variance over height and width, (batch, channels) each; 0 is the variance of one number."""
    if maps.ndim == 2:
        return maps, torch.zeros_like(maps)
    variance, mean = torch.var_mean(maps, dim=tuple(range(2, maps.ndim)), correction=0)
    return mean, variance
