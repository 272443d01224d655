"""Seeds to latents to images, as a sized iterable; each image is a function of its seed alone."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from kennel import randomness
from kennel.data.image_set import PixelArray
from kennel.errors import RunError
from kennel.networks import Generator
from kennel.pixels import to_uint8
from kennel.recipe import Latent
from kennel.shapes import Latents

DEFAULT_BATCH = 64


def draw_latents(latent: Latent, count: int, random: torch.Generator) -> Latents:
    """`count` draws from the prior on the generator's device: what training uses."""
    shape = (count, latent.dimension)
    if latent.distribution == "uniform":
        return torch.rand(shape, generator=random, device=random.device) * 2 - 1
    return torch.randn(shape, generator=random, device=random.device)


def latents_of(seeds: Sequence[int], latent: Latent, truncation: float | None = None) -> Latents:
    """One latent (count, dimension) for each seed, on the CPU, the same bit for bit in any company.

    `truncation` t draws every value outside [-t, t] again until it is inside (BigGAN, section 3.1); the
    values inside are those of the untruncated latent.
    """
    if truncation is not None and latent.distribution == "uniform":
        raise RunError("truncation is for a normal prior, and this run's latents are uniform: leave it out")
    if truncation is not None and not truncation > 0:
        raise RunError(
            f"truncation {truncation} leaves nothing to draw: give a threshold above 0, such as 1.0"
        )
    rows = []
    for seed in seeds:
        random = randomness.generator(seed, "latent")
        row = draw_latents(latent, 1, random)[0]
        while truncation is not None and bool((outside := row.abs() > truncation).any()):
            row[outside] = torch.randn(int(outside.sum()), generator=random)
        rows.append(row)
    return torch.stack(rows)


@dataclass(frozen=True)
class SampleBatch:
    """Some samples: their seeds, uint8 pixels (batch, C, H, W), and labels where the generator takes them."""

    seeds: tuple[int, ...]
    pixels: PixelArray
    labels: tuple[int, ...] | None


class Samples:
    """The images of `seeds`, batch by batch; a sized iterable.

    With a conditional generator, `label` gives every image that class; without, each seed draws its own.
    """

    def __init__(
        self,
        generator: Generator,
        latent: Latent,
        seeds: Sequence[int],
        *,
        batch: int = DEFAULT_BATCH,
        truncation: float | None = None,
        label: int | None = None,
    ) -> None:
        """Nothing is drawn before iteration."""
        classes = generator.setting.classes
        if label is not None and classes == 0:
            raise RunError("this run's generator knows no classes: leave the class out")
        if label is not None and not 0 <= label < classes:
            raise RunError(f"class {label} is out of range: the generator knows 0 to {classes - 1}")
        self.generator = generator
        self.latent = latent
        self.seeds = seeds
        self.batch = batch
        self.truncation = truncation
        self.label = label

    def __len__(self) -> int:
        return len(self.seeds)

    def __iter__(self) -> Iterator[SampleBatch]:
        return self.in_batches(self.batch)

    def in_batches(self, size: int) -> Iterator[SampleBatch]:
        """All samples in order, at most `size` at a time."""
        device = next(self.generator.parameters()).device
        for start in range(0, len(self.seeds), size):
            seeds = tuple(self.seeds[start : start + size])
            latents = latents_of(seeds, self.latent, self.truncation).to(device)
            labels = self._labels(seeds)
            on_device = None if labels is None else torch.tensor(labels, device=device)
            training = self.generator.training
            self.generator.eval()
            try:
                with torch.no_grad():
                    images = self.generator(latents, on_device)
            finally:
                self.generator.train(training)
            yield SampleBatch(seeds, to_uint8(images).cpu().numpy(), labels)

    def _labels(self, seeds: Sequence[int]) -> tuple[int, ...] | None:
        classes = self.generator.setting.classes
        if classes == 0:
            return None
        if self.label is not None:
            return (self.label,) * len(seeds)
        return tuple(
            int(torch.randint(classes, (), generator=randomness.generator(seed, "label"))) for seed in seeds
        )

    def pixels(self) -> PixelArray:
        """All images at once, uint8 (N, C, H, W)."""
        return np.concatenate([batch.pixels for batch in self])


class SampledSet:
    """Samples as an `ImageSet`, to be judged like any folder."""

    def __init__(self, samples: Samples, name: str, run_fingerprint: str) -> None:
        """`run_fingerprint` must change whenever the weights do."""
        self._samples = samples
        self._name = name
        self._run_fingerprint = run_fingerprint

    @property
    def name(self) -> str:
        """What a table calls it."""
        return self._name

    @property
    def fingerprint(self) -> str:
        """Of the run, the seeds and the truncation."""
        seeds = self._samples.seeds
        text = f"{self._run_fingerprint}/{seeds[0]}-{seeds[-1]}/{len(seeds)}"
        text += f"/{self._samples.truncation}/{self._samples.label}"
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        setting = self._samples.generator.setting
        return setting.channels, setting.size, setting.size

    def __len__(self) -> int:
        return len(self._samples)

    def batches(self, size: int) -> Iterator[PixelArray]:
        """All samples in order, at most `size` at a time."""
        for batch in self._samples.in_batches(size):
            yield batch.pixels
