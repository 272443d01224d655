"""Truncation sweeps: images of the same seeds from a loose to a tight threshold."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from kennel.config.recipe import LatentConfig, SamplingConfig
from kennel.data.images import PixelArray, batch_starts
from kennel.errors import RunError
from kennel.images import to_uint8
from kennel.networks import Generator, StyleGenerator
from kennel.sampling.sampler import (
    DEFAULT_BATCH,
    MIN_TRUNCATION,
    latents_of,
    ready_generator,
    refuse_not_finite,
)
from kennel.shapes import Images, Latents

LOOSEST, TIGHTEST = 3.0, 0.1
"""The thresholds of the first and the last frame for a normal prior; 0.3% of untruncated values are beyond
the first one."""


def quantile_truncated(latents: Latents, threshold: float) -> Latents:
    """Normal latents mapped to normal latents truncated to [-threshold, threshold], value by value.

    The map keeps each value's quantile, F^-1(F(z)) with the distribution functions before and after. It has
    the distribution of redrawn values (`latents_of`), but changes continuously with the threshold.
    """
    exact = latents.double()
    low = torch.special.ndtr(torch.tensor(-threshold, dtype=torch.float64, device=exact.device))
    mapped: Tensor = torch.special.ndtri(low + torch.special.ndtr(exact) * (1 - 2 * low))
    return mapped.clamp(-threshold, threshold).to(latents.dtype)


@dataclass(frozen=True)
class TruncationSweep:
    """A sized iterable over (threshold, uint8 (cells, C, H, W)), from loose to tight.

    Without a mapping network thresholds decrease geometrically from `LOOSEST` to `tightest`, and latents are
    those of `quantile_truncated`; with one, factors decrease linearly from 1 to `tightest`, by default 0,
    the mean style. Raises `RunError` for uniform latents, and for thresholds outside of these ranges.
    """

    generator: Generator
    latent: LatentConfig
    seeds: Sequence[int]
    labels: Sequence[int] | None
    frames: int
    tightest: float | None = None
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    batch: int = DEFAULT_BATCH

    def __post_init__(self) -> None:
        styles = isinstance(self.generator, StyleGenerator)
        if not styles and self.latent.distribution == "uniform":
            raise RunError("--sweep truncation is for a normal prior, and this run's latents are uniform")
        low, high = (0.0, 1.0) if styles else (MIN_TRUNCATION, LOOSEST)
        if self.tightest is not None and not low <= self.tightest < high:
            raise RunError(
                f"truncation {self.tightest:g} cannot end a sweep from {high:g}: give at least {low:g} and "
                f"less than {high:g}"
            )

    def __len__(self) -> int:
        return self.frames

    @property
    def thresholds(self) -> list[float]:
        """The threshold or factor of each frame."""
        if isinstance(self.generator, StyleGenerator):
            values = np.linspace(1, self.tightest or 0.0, self.frames)
        else:
            values = np.geomspace(LOOSEST, self.tightest or TIGHTEST, self.frames)
        return [float(value) for value in values]

    def __iter__(self) -> Iterator[tuple[float, PixelArray]]:
        generator = self.generator
        for number, threshold in enumerate(self.thresholds):
            if number == 0 or not isinstance(generator, StyleGenerator):
                generator = ready_generator(self.generator, self.latent, self.sampling, threshold)
            training = generator.training
            generator.eval()
            try:
                pieces = [
                    self._images(generator, threshold, start)
                    for start in batch_starts(len(self.seeds), self.batch, 0, 1)
                ]
            finally:
                generator.train(training)
            images = torch.cat(pieces)
            refuse_not_finite(images, self.seeds)
            yield threshold, to_uint8(images).cpu().numpy()

    @torch.no_grad()
    def _images(self, generator: Generator, threshold: float, start: int) -> Images:
        end = start + self.batch
        device = next(generator.parameters()).device
        labels = None if self.labels is None else torch.tensor(self.labels[start:end], device=device)
        latents = latents_of(self.seeds[start:end], self.latent)
        if isinstance(generator, StyleGenerator):
            styles = generator.map_latents(latents.to(device), labels)
            return generator.synthesize(generator.truncated(styles, threshold))
        images: Images = generator(quantile_truncated(latents, threshold).to(device), labels)
        return images
