"""Seeds to latents to images, as a sized iterable; each image is a function of its seed alone."""

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
LEAST_TRUNCATION = 0.01
"""Below it nearly every draw is outside, and drawing again would take for ever."""
STANDING_SEED = 2_000_000
"""Standing statistics are those of the seeds from here on, apart from the grid's and the validation's."""


def latents_of(seeds: Sequence[int], latent: LatentConfig, truncation: float | None = None) -> Latents:
    """One latent (count, dimension) for each seed, on the CPU, the same bit for bit in any company.

    `truncation` t draws every value outside [-t, t] again until it is inside (Brock et al. 2019); the
    values inside are those of the untruncated latent.
    """
    if truncation is not None and latent.distribution == "uniform":
        raise RunError("truncation is for a normal prior, and this run's latents are uniform: leave it out")
    if truncation is not None and not truncation >= LEAST_TRUNCATION:
        raise RunError(
            f"truncation {truncation} leaves nothing to draw: give a threshold of at least "
            f"{LEAST_TRUNCATION}, such as 1.0"
        )
    rows = []
    for seed in seeds:
        random = rng.generator(seed, "latent")
        row = draw_latents(latent, 1, random)[0]
        while truncation is not None and bool((outside := row.abs() > truncation).any()):
            row[outside] = torch.randn(int(outside.sum()), generator=random)
        rows.append(row)
    return torch.stack(rows)


def class_weights(spec: NetworkSpec, how: ClassSampling = "data") -> tuple[int, ...]:
    """How often each class is drawn beside the others: by the training set's counts, or all alike.

    Also alike where the counts are not known. In lowest terms, so that the counts of a balanced set draw
    exactly what "uniform" does; empty where the generator knows no classes.
    """
    if how == "uniform" or not spec.class_counts:
        return (1,) * spec.num_classes
    common = math.gcd(*spec.class_counts)
    return tuple(count // common for count in spec.class_counts)


def label_weights(generator: Generator, how: ClassSampling = "data") -> tuple[int, ...]:
    """How often each label is drawn: classes as `class_weights` says, instances as training shows them."""
    if generator.spec.num_instances:
        return tuple(parts_with_instances(generator)[0].counts.tolist())
    return class_weights(generator.spec, how)


def labels_of(seeds: Sequence[int], weights: Sequence[int]) -> tuple[int, ...]:
    """The label that each seed draws for itself: label k as often as `weights[k]` of their sum."""
    ends = torch.tensor(weights).cumsum(0)
    total = int(ends[-1])
    drawn = [int(torch.randint(total, (), generator=rng.generator(seed, "label"))) for seed in seeds]
    return tuple(torch.searchsorted(ends, torch.tensor(drawn, dtype=ends.dtype), right=True).tolist())


def a_row_a_class(seeds: Sequence[int], classes: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(seeds, labels) of a grid with a row for each class: `seeds` again and again, in each class once."""
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
    """The image of each seed, on the generator's device.

    Truncation is the generator's business: with a mapping network it moves styles towards their mean, of
    which `truncation` of the distance is left (Karras et al. 2019); without one it draws latents again that
    are beyond it (`latents_of`).
    """
    device = next(generator.parameters()).device
    on_device = None if labels is None else torch.tensor(labels, device=device)
    if truncation is not None and isinstance(generator, StyleGenerator):
        if not math.isfinite(truncation):
            raise RunError(f"truncation {truncation} is no share of a distance: give one such as 0.7")
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
    """A copy whose batch norm knows the statistics of samples at this truncation (Brock et al. 2019).

    The means over `passes` batches of `DEFAULT_BATCH` samples, of seeds and classes of their own, take the
    place of training's running averages, which belong to older weights and to latents without truncation.
    `classes` says how often each class is among them, as in `Sampling`.
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
        with single_process():  # whoever samples does so by itself, or does the same as every other rank
            images_of(standing, latent, seeds, labels, truncation)
    return standing.eval()


def _refuse_not_finite(images: Images, seeds: Sequence[int]) -> None:
    """A NaN has no level of its own and would become black, an infinity black or white, in silence."""
    finite = torch.isfinite(images).flatten(1).all(1)
    if not bool(finite.all()):
        raise NotFiniteError(
            f"the generator draws values that are not finite (NaN or infinite), the first for seed "
            f"{seeds[int(finite.int().argmin())]}, and no picture: its weights are spoilt, take an older "
            "checkpoint or another run"
        )


@dataclass(frozen=True)
class SampleBatch:
    """Some samples: their seeds, uint8 pixels (batch, C, H, W), and classes where there are some."""

    seeds: tuple[int, ...]
    pixels: PixelArray
    labels: tuple[int, ...] | None


class Samples:
    """The images of `seeds`, batch by batch; a sized iterable.

    With a conditional generator `labels` are the images' classes; without them each seed draws its own, as
    `sampling.classes` says: as often as the training set has them, or all alike.
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
        """Nothing is drawn before iteration. `labels` are as many as `seeds`."""
        classes = generator.spec.num_classes
        if labels is not None and classes == 0:
            raise RunError("this run's generator knows no classes: leave the class out")
        for label in labels or ():
            if not 0 <= label < classes:
                raise RunError(f"class {label} is out of range: the generator knows 0 to {classes - 1}")
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
        """Samples in order, `size` at a time; only batches `first`, `first + step`, ... are drawn."""
        generator = self.generator
        if self.sampling.standing_stats_batches:
            generator = with_standing_statistics(
                generator,
                self.latent,
                self.sampling.standing_stats_batches,
                self.truncation,
                self.sampling.classes,
            )
        for start in batch_starts(len(self), size, first, step):
            seeds = tuple(self.seeds[start : start + size])
            labels = self._labels_of(seeds, start)
            training = generator.training
            generator.eval()
            try:
                images = images_of(generator, self.latent, seeds, labels, self.truncation)
            finally:
                generator.train(training)
            _refuse_not_finite(images, seeds)
            classes = labels if generator.spec.num_classes else None  # an instance is no class
            yield SampleBatch(seeds, to_uint8(images).cpu().numpy(), classes)

    def _labels_of(self, seeds: tuple[int, ...], start: int) -> tuple[int, ...] | None:
        if self.labels is not None:
            return tuple(self.labels[start : start + len(seeds)])
        weights = label_weights(self.generator, self.sampling.classes)
        return labels_of(seeds, weights) if weights else None

    @property
    def class_sampling(self) -> ClassSampling | None:
        """How the images' classes are drawn; None where they are given, or where there are none."""
        drawn = self.generator.spec.num_classes > 0 and self.labels is None
        return self.sampling.classes if drawn else None

    def pixels(self) -> PixelArray:
        """All images at once, uint8 (N, C, H, W)."""
        return np.concatenate([batch.pixels for batch in self])


class SampledSet:
    """Samples as an `ImageSet`, to be judged like any folder."""

    def __init__(
        self,
        samples: Samples,
        name: str,
        run_fingerprint: str,
        classes: tuple[str, ...] = (),
        teacher: str | None = None,
    ) -> None:
        """`run_fingerprint` must change whenever the weights do; `classes` names those of the run's set, and
        `teacher` the pretrained network that the run learned from."""
        self._samples = samples
        self._name = name
        self.classes = classes
        self.teacher = teacher
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
        text += f"/{self._samples.truncation}/{self._samples.labels}/{self._samples.sampling}"
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        spec = self._samples.generator.spec
        return spec.channels, spec.size, spec.size

    @property
    def labels(self) -> npt.NDArray[np.int64] | None:
        """The class that each image was asked for, int64 (N,); None where the generator knows none."""
        if not self._samples.generator.spec.num_classes:
            return None
        labels = self._samples._labels_of(tuple(self._samples.seeds), 0)
        return None if labels is None else np.array(labels, np.int64)

    @property
    def class_sampling(self) -> ClassSampling | None:
        """How the images' classes are drawn, for the protocol; None where they are not."""
        return self._samples.class_sampling

    def __len__(self) -> int:
        return len(self._samples)

    def batches(self, size: int, first: int = 0, step: int = 1) -> Iterator[PixelArray]:
        """Samples in order, `size` at a time; see `ImageSet.batches`."""
        for batch in self._samples.in_batches(size, first, step):
            yield batch.pixels

    def at(self, rows: npt.NDArray[np.int64]) -> PixelArray:
        """The samples at these indices, drawn again from their seeds."""
        whole = self._samples
        some = Samples(
            whole.generator,
            whole.latent,
            [whole.seeds[row] for row in rows],
            batch=whole.batch,
            truncation=whole.truncation,
            labels=None if whole.labels is None else [whole.labels[row] for row in rows],
            sampling=whole.sampling,
        )
        return some.pixels()
