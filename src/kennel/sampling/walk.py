"""Walks: images along a path through latents and labels."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import cast

import torch

from kennel.config.recipe import LatentConfig, SamplingConfig
from kennel.data.images import PixelArray
from kennel.errors import RunError
from kennel.images import to_uint8
from kennel.networks import Generator, StyleGenerator
from kennel.sampling.interpolation import between_latents
from kennel.sampling.label_mixing import mixed_labels
from kennel.sampling.sampler import DEFAULT_BATCH, latents_of, ready_generator, refuse_not_finite
from kennel.shapes import Images, Labels, Latents, Targets

Row = tuple[int, ...]


@dataclass(frozen=True)
class Stop:
    """A point of a walk: the seed of each cell, and its label for a conditional generator."""

    seeds: Row
    labels: Row | None


@dataclass(frozen=True)
class Walk:
    """A sized iterable over the frames of a walk, each uint8 (cells, C, H, W).

    `steps` frames lead from one stop to the next. A `loop` returns from the last stop to the first; without
    it, the last frame is the last stop. Between stops latents are interpolated as in `between_latents`, and
    labels as in `mixed_labels`. With a mapping network styles are interpolated instead, linearly: they
    depend on latent and label, and images change more evenly along lines between styles than between latents
    (perceptual path length; Karras et al. 2019, arXiv 1812.04948, table 3).
    """

    generator: Generator
    latent: LatentConfig
    stops: Sequence[Stop]
    steps: int
    loop: bool = True
    truncation: float | None = None
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    batch: int = DEFAULT_BATCH

    def __post_init__(self) -> None:
        if len(self.stops) < 2:
            raise RunError("a walk needs at least two different ends: give more seeds or classes")

    def __len__(self) -> int:
        return len(self.stops) * self.steps if self.loop else (len(self.stops) - 1) * self.steps + 1

    def __iter__(self) -> Iterator[PixelArray]:
        generator = ready_generator(self.generator, self.latent, self.sampling, self.truncation)
        cells = len(self.stops[0].seeds)
        at_once = max(1, self.batch // cells)
        for start in range(0, len(self), at_once):
            frames = range(start, min(start + at_once, len(self)))
            pixels = to_uint8(self._images(generator, frames)).cpu().numpy()
            yield from pixels.reshape(len(frames), cells, *pixels.shape[1:])

    def _images(self, generator: Generator, frames: range) -> Images:
        """The images of all cells of these frames, frame by frame."""
        before, after, shares = [], [], []
        for frame in frames:
            stop, step = divmod(frame, self.steps)
            cells = len(self.stops[stop].seeds)
            before.append(self.stops[stop])
            after.append(self.stops[(stop + 1) % len(self.stops)])
            shares += [step / self.steps] * cells
        device = next(generator.parameters()).device
        ends = [self._end(stops, device) for stops in (before, after)]
        training = generator.training
        generator.eval()
        try:
            images = draw_between(
                generator, self.latent, ends[0], ends[1], torch.tensor(shares, device=device), self.truncation
            )
        finally:
            generator.train(training)
        refuse_not_finite(images, [seed for stop in before for seed in stop.seeds])
        return images

    def _end(self, stops: Sequence[Stop], device: torch.device) -> tuple[Latents, Labels | None]:
        limit = None if isinstance(self.generator, StyleGenerator) else self.truncation
        seeds = [seed for stop in stops for seed in stop.seeds]
        labels = [label for stop in stops for label in stop.labels or ()]
        latents = latents_of(seeds, self.latent, limit).to(device)
        return latents, torch.tensor(labels, device=device) if labels else None


@torch.no_grad()
def draw_between(
    generator: Generator,
    latent: LatentConfig,
    first: tuple[Latents, Labels | None],
    second: tuple[Latents, Labels | None],
    share: Targets,
    truncation: float | None = None,
) -> Images:
    """Images with `share[i]` of row i of `second` and the rest of `first`, both (latents, labels).

    `truncation` is for a mapping network; other latents are given truncated. See `Walk`.
    """
    if isinstance(generator, StyleGenerator):
        styles = torch.lerp(
            generator.map_latents(*first), generator.map_latents(*second), share[:, None, None]
        )
        return generator.synthesize(styles if truncation is None else generator.truncated(styles, truncation))
    latents = between_latents(latent, first[0], second[0], share).to(first[0].dtype)
    labels, others = first[1], second[1]
    if labels is None or others is None or torch.equal(labels, others):
        return cast(Images, generator(latents, labels))
    with mixed_labels(generator, labels, others, share) as mixed:
        return cast(Images, generator(latents, mixed))
