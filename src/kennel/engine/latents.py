"""What the generator draws from while it trains."""

import torch

from kennel.config.recipe import Latent
from kennel.shapes import Latents


def draw_latents(latent: Latent, count: int, random: torch.Generator) -> Latents:
    """`count` draws from the prior on the generator's device: what training uses."""
    shape = (count, latent.dimension)
    if latent.distribution == "uniform":
        return torch.rand(shape, generator=random, device=random.device) * 2 - 1
    return torch.randn(shape, generator=random, device=random.device)
