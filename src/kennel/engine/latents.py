"""Draws latents for training."""

import torch

from kennel.config.recipe import LatentConfig
from kennel.shapes import Latents


def draw_latents(latent: LatentConfig, count: int, random: torch.Generator) -> Latents:
    """`count` draws from the prior, on the generator's device."""

    shape = (count, latent.dim)
    if latent.distribution == "uniform":
        return torch.rand(shape, generator=random, device=random.device) * 2 - 1
    return torch.randn(shape, generator=random, device=random.device)
