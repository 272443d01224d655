"""Draws latents and images from seeds; each image depends only on its seed."""

import copy
import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from kennel import rng
from kennel.config.recipe import ClassSampling, LatentConfig, SamplingConfig
from kennel.data.images import PixelArray, batch_starts
from kennel.distributed import single_process
from kennel.engine.latents import draw_latents
from kennel.errors import NotFiniteError, RunError
from kennel.images import to_uint8
from kennel.networks import Generator, NetworkSpec, StyleGenerator
from kennel.networks.layers.instances import parts_with_instances
from kennel.shapes import Images, Latents

DEFAULT_BATCH = 64
MIN_TRUNCATION = 0.01
"""Below it nearly every draw is rejected, and redrawing would not end in reasonable time."""
STANDING_SEED = 2_000_000
"""First seed of standing statistics; grids and validations use other seeds."""


def latents_of(seeds: Sequence[int], latent: LatentConfig, truncation: float | None = None) -> Latents:
    """Draws one latent per seed: (count, dimension), on the CPU; other seeds do not affect it.

    `truncation` t redraws values outside [-t, t] until they are inside (Brock et al. 2019); the other values
    are those of the untruncated latent.
    """
    if truncation is not None and latent.distribution == "uniform":
        raise RunError("truncation is for a normal prior, and this run's latents are uniform: leave it out")
    if truncation is not None and not truncation >= MIN_TRUNCATION:
        raise RunError(f"truncation {truncation} is too small: give at least {MIN_TRUNCATION}, such as 1.0")
    rows = []
    for seed in seeds:
        random = rng.generator(seed, "latent")
        row = draw_latents(latent, 1, random)[0]
        while truncation is not None and bool((outside := row.abs() > truncation).any()):
            row[outside] = torch.randn(int(outside.sum()), generator=random)
        rows.append(row)
    return torch.stack(rows)


def class_weights(spec: NetworkSpec, how: ClassSampling = "data") -> tuple[int, ...]:
    """Returns the relative frequency of each class: the training set's counts, or all 1.

    All 1 also if the counts are unknown. In lowest terms, so that a balanced set draws the same labels as
    "uniform"; empty for an unconditional generator.
    """
    if how == "uniform" or not spec.class_counts:
        return (1,) * spec.num_classes
    common = math.gcd(*spec.class_counts)
    return tuple(count // common for count in spec.class_counts)


def label_weights(generator: Generator, how: ClassSampling = "data") -> tuple[int, ...]:
    """Returns the relative frequency of each label: of classes (`class_weights`) or of instances."""
    if generator.spec.num_instances:
        return tuple(parts_with_instances(generator)[0].counts.tolist())
    return class_weights(generator.spec, how)


def labels_of(seeds: Sequence[int], weights: Sequence[int]) -> tuple[int, ...]:
    """Draws one label per seed: label k with probability `weights[k] / sum(weights)`."""
    ends = torch.tensor(weights).cumsum(0)
    total = int(ends[-1])
    drawn = [int(torch.randint(total, (), generator=rng.generator(seed, "label"))) for seed in seeds]
    return tuple(torch.searchsorted(ends, torch.tensor(drawn, dtype=ends.dtype), right=True).tolist())


def class_grid(seeds: Sequence[int], classes: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Returns (seeds, labels) of a grid with one row per class; every row has the same seeds."""
    labels = tuple(label for label in range(classes) for _ in seeds)
    return tuple(seeds) * classes, labels


@torch.no_grad()
def images_of(
    generator: Generator,
    latent: LatentConfig,
    seeds: Sequence[int],
    labels: Sequence[int] | None,
    truncation: float | None = None,
) -> Images:
    """Draws the image of each seed, on the generator's device.

    With a mapping network, `truncation` scales the distance of styles from their mean (Karras et al. 2019);
    without one, it redraws latent values beyond it (`latents_of`).
    """
    device = next(generator.parameters()).device
    on_device = None if labels is None else torch.tensor(labels, device=device)
    if truncation is not None and isinstance(generator, StyleGenerator):
        if not math.isfinite(truncation):
            raise RunError(f"truncation {truncation} is not finite: give a factor such as 0.7")
        styles = generator.map_latents(latents_of(seeds, latent).to(device), on_device)
        return generator.synthesize(generator.truncated(styles, truncation))
    images: Images = generator(latents_of(seeds, latent, truncation).to(device), on_device)
    return images


def with_standing_statistics(
    generator: Generator,
    latent: LatentConfig,
    passes: int,
    truncation: float | None = None,
    classes: ClassSampling = "data",
) -> Generator:
    """Returns a copy with batch norm statistics of samples at this truncation (Brock et al. 2019).

    Means over `passes` batches of `DEFAULT_BATCH` samples replace the running averages of training, which
    belong to older weights and untruncated latents. `classes` is the distribution of their classes, as in
    `SamplingConfig`.
    """
    standing = copy.deepcopy(generator).eval()
    for module in standing.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.reset_running_stats()
            module.momentum = None  # a plain mean over the passes
            module.train()
    weights = label_weights(generator, classes)
    for number in range(passes):
        first = STANDING_SEED + number * DEFAULT_BATCH
        seeds = range(first, first + DEFAULT_BATCH)
        labels = labels_of(seeds, weights) if weights else None
        with single_process():  # either one rank samples, or all ranks draw the same samples
            images_of(standing, latent, seeds, labels, truncation)
    return standing.eval()


def ready_generator(
    generator: Generator, latent: LatentConfig, sampling: SamplingConfig, truncation: float | None = None
) -> Generator:
    """Returns the generator, or its copy with standing statistics if `sampling` has passes for them."""
    if not sampling.standing_stats_batches:
        return generator
    return with_standing_statistics(
        generator, latent, sampling.standing_stats_batches, truncation, sampling.classes
    )


def refuse_labels(generator: Generator, labels: Sequence[int]) -> None:
    """Raises `RunError` if there are labels and the generator does not have these classes."""
    classes = generator.spec.num_classes
    if labels and classes == 0:
        raise RunError("the generator is unconditional: leave the class out")
    for label in labels:
        if not 0 <= label < classes:
            raise RunError(f"class {label} is out of range: the generator has classes 0 to {classes - 1}")


def refuse_not_finite(images: Images, seeds: Sequence[int]) -> None:
    """Raises `NotFiniteError` for NaN or infinity, which would silently become black or white."""
    finite = torch.isfinite(images).flatten(1).all(1)
    if not bool(finite.all()):
        raise NotFiniteError(
            "the generator's images are not finite (NaN or infinite), the first one at seed "
            f"{seeds[int(finite.int().argmin())]}: its weights are damaged; take an older checkpoint or "
            "another run"
        )


@dataclass(frozen=True)
class SampleBatch:
    """A batch of samples: seeds, uint8 pixels (batch, C, H, W), and class labels or None."""

    seeds: tuple[int, ...]
    pixels: PixelArray
    labels: tuple[int, ...] | None


class Samples:
    """A sized iterable over batches of the images of `seeds`.

    `labels` are the classes for a conditional generator; without them each seed draws its class, from the
    distribution `sampling.classes`.
    """

    def __init__(
        self,
        generator: Generator,
        latent: LatentConfig,
        seeds: Sequence[int],
        *,
        batch: int = DEFAULT_BATCH,
        truncation: float | None = None,
        labels: Sequence[int] | None = None,
        sampling: SamplingConfig | None = None,
    ) -> None:
        """Draws nothing before iteration. `labels` has the length of `seeds`."""
        refuse_labels(generator, labels or ())
        self.generator = generator
        self.latent = latent
        self.seeds = seeds
        self.batch = batch
        self.truncation = truncation
        self.labels = labels
        self.sampling = sampling or SamplingConfig()

    def __len__(self) -> int:
        return len(self.seeds)

    def __iter__(self) -> Iterator[SampleBatch]:
        return self.in_batches(self.batch)

    def in_batches(self, size: int, first: int = 0, step: int = 1) -> Iterator[SampleBatch]:
        """Yields batches of `size` samples in order; draws only batches `first`, `first + step`, ..."""
        generator = ready_generator(self.generator, self.latent, self.sampling, self.truncation)
        for start in batch_starts(len(self), size, first, step):
            seeds = tuple(self.seeds[start : start + size])
            labels = self._labels_of(seeds, start)
            training = generator.training
            generator.eval()
            try:
                images = images_of(generator, self.latent, seeds, labels, self.truncation)
            finally:
                generator.train(training)
            refuse_not_finite(images, seeds)
            classes = labels if generator.spec.num_classes else None  # labels of instances are not classes
            yield SampleBatch(seeds, to_uint8(images).cpu().numpy(), classes)

    def _labels_of(self, seeds: tuple[int, ...], start: int) -> tuple[int, ...] | None:
        if self.labels is not None:
            return tuple(self.labels[start : start + len(seeds)])
        weights = label_weights(self.generator, self.sampling.classes)
        return labels_of(seeds, weights) if weights else None

    @property
    def class_sampling(self) -> ClassSampling | None:
        """The distribution of drawn classes; None if they are given, or for an unconditional generator."""
        drawn = self.generator.spec.num_classes > 0 and self.labels is None
        return self.sampling.classes if drawn else None

    def pixels(self) -> PixelArray:
        """Returns all images, uint8 (N, C, H, W)."""
        return np.concatenate([batch.pixels for batch in self])


class SampledSet:
    """Samples as an `ImageSource`, which can be judged like a folder."""

    def __init__(
        self,
        samples: Samples,
        name: str,
        run_fingerprint: str,
        classes: tuple[str, ...] = (),
        teacher: str | None = None,
    ) -> None:
        """`run_fingerprint` must change with the weights; `classes` are the class names of the training set;
        `teacher` is the pretrained network in the discriminator."""
        self._samples = samples
        self._name = name
        self.classes = classes
        self.teacher = teacher
        self._run_fingerprint = run_fingerprint

    @property
    def name(self) -> str:
        """The name in tables."""
        return self._name

    @property
    def fingerprint(self) -> str:
        """Digest of the run, the seeds, the truncation and the labels."""
        seeds = self._samples.seeds
        text = f"{self._run_fingerprint}/{seeds[0]}-{seeds[-1]}/{len(seeds)}"
        text += f"/{self._samples.truncation}/{self._samples.labels}/{self._samples.sampling}"
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        spec = self._samples.generator.spec
        return spec.channels, spec.size, spec.size

    @property
    def labels(self) -> npt.NDArray[np.int64] | None:
        """The class of each image, int64 (N,); None for an unconditional generator."""
        if not self._samples.generator.spec.num_classes:
            return None
        labels = self._samples._labels_of(tuple(self._samples.seeds), 0)
        return None if labels is None else np.array(labels, np.int64)

    @property
    def class_sampling(self) -> ClassSampling | None:
        """The distribution of drawn classes, for the protocol, or None."""
        return self._samples.class_sampling

    def __len__(self) -> int:
        return len(self._samples)

    def batches(self, size: int, first: int = 0, step: int = 1) -> Iterator[PixelArray]:
        """Yields batches of `size` samples in order; see `ImageSource.batches`."""
        for batch in self._samples.in_batches(size, first, step):
            yield batch.pixels

    def at(self, rows: npt.NDArray[np.int64]) -> PixelArray:
        """Draws the samples at these indices again."""
        samples = self._samples
        selected = Samples(
            samples.generator,
            samples.latent,
            [samples.seeds[row] for row in rows],
            batch=samples.batch,
            truncation=samples.truncation,
            labels=None if samples.labels is None else [samples.labels[row] for row in rows],
            sampling=samples.sampling,
        )
        return selected.pixels()
