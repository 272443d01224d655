"""Interpolation between vectors, linear and on the sphere."""

import torch
from torch import Tensor

from kennel.config.recipe import LatentConfig
from kennel.shapes import Features, Latents, Targets

PARALLEL = 1e-4
"""Below this sine of the angle the spherical formula divides by almost 0; the linear one is equal there."""


def lerp(first: Features, second: Features, share: Targets) -> Features:
    """The straight line between two batches of vectors (batch, width); `share` (batch) in [0, 1]."""
    return torch.lerp(first, second, share[:, None])


def slerp(first: Features, second: Features, share: Targets) -> Features:
    """The arc between two batches of vectors (batch, width); `share` (batch) in [0, 1].

        (sin((1 - s) angle) first + sin(s angle) second) / sin(angle)

    Shoemake 1985, "Animating Rotation with Quaternion Curves"; for the latents of GANs White 2016 (arXiv
    1609.04468): nearly all normal latents have a length close to sqrt(width), and points of the straight line
    between two of them are shorter. Parallel vectors are interpolated linearly.
    """
    lengths = first.norm(dim=1) * second.norm(dim=1)
    cosine = ((first * second).sum(1) / lengths.clamp_min(1e-12)).clamp(-1, 1)
    angle, sine = cosine.arccos(), (1 - cosine.square()).sqrt()
    weights = [((1 - share) * angle).sin() / sine, (share * angle).sin() / sine]
    arc = weights[0][:, None] * first + weights[1][:, None] * second
    return torch.where((sine > PARALLEL)[:, None], arc, lerp(first, second, share))


def between_latents(latent: LatentConfig, first: Latents, second: Latents, share: Targets) -> Tensor:
    """Latents between two batches: on the sphere for a normal prior, on the line for a uniform one."""
    between = slerp if latent.distribution == "normal" else lerp
    return between(first, second, share)
