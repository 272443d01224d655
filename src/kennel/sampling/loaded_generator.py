"""A generator that is ready to sample, from a run or an exported file."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from kennel.config.recipe import ClassSampling, Recipe
from kennel.errors import RunError
from kennel.evaluation.judge import DEFAULT_COUNT
from kennel.evaluation.score import RECOMMENDED_COUNT
from kennel.networks import Generator
from kennel.sampling.sampler import DEFAULT_BATCH, SampledSet, Samples, class_grid


@dataclass(frozen=True, kw_only=True)
class LoadedGenerator(ABC):
    """A generator that is ready to sample.

    Attributes: `recipe`, resolved; `generator`; `images_seen`, images shown to the discriminator so far;
    `fingerprint`, which changes with the weights; `averaged`, whether the weights are an average (EMA);
    `teacher`, the pretrained network in the discriminator, by the name of its extractor; `truncation`, the
    default of samples.
    """

    recipe: Recipe
    generator: Generator
    images_seen: int
    fingerprint: str
    averaged: bool
    teacher: str | None = None
    truncation: float | None = None

    @property
    @abstractmethod
    def name(self) -> str:
        """The name in messages."""

    @property
    @abstractmethod
    def classes(self) -> tuple[str, ...]:
        """The class names by label; empty without classes."""

    def sampled_set(
        self, count: int, seed: int = 0, truncation: float | None = None, classes: ClassSampling | None = None
    ) -> SampledSet:
        """Returns `count` samples as an `ImageSource`; `classes` as in `samples`."""
        samples = self.samples(count, seed, truncation, classes=classes)
        name = f"{self.name} at {self.images_seen:,} images"
        if samples.truncation is not None:
            name += f", truncation {samples.truncation}"
        return SampledSet(samples, name, self.fingerprint, self.classes, self.teacher)

    def samples(
        self,
        count: int,
        seed: int = 0,
        truncation: float | None = None,
        label: int | None = None,
        batch: int = DEFAULT_BATCH,
        classes: ClassSampling | None = None,
    ) -> Samples:
        """Returns the images of seeds `seed` to `seed + count - 1`, all of class `label` if it is given.

        Otherwise each seed draws its class: `classes` "data" as in the training set, "uniform" uniformly,
        None as in the run's recipe. Raises `RunError` for a generator without classes.
        """
        return self.samples_of(range(seed, seed + count), truncation, label, batch, classes)

    def samples_of(
        self,
        seeds: Sequence[int],
        truncation: float | None = None,
        label: int | None = None,
        batch: int = DEFAULT_BATCH,
        classes: ClassSampling | None = None,
    ) -> Samples:
        """Returns the images of these seeds; otherwise as `samples`."""
        if classes is not None:
            self.require_classes("--classes")
        if classes is not None and label is not None:
            raise RunError("--class draws one class and --classes a class per seed: give one of the two")
        labels = None if label is None else (label,) * len(seeds)
        return self._samples(seeds, labels, truncation, batch, classes)

    def samples_per_class(
        self, count: int, seed: int = 0, truncation: float | None = None, batch: int = DEFAULT_BATCH
    ) -> Samples:
        """Returns `count` images of every class, one class after the other, with the same seeds."""
        self.require_classes("--per-class")
        seeds, labels = class_grid(range(seed, seed + count), self.generator.spec.num_classes)
        return self._samples(seeds, labels, truncation, batch)

    def require_classes(self, option: str) -> None:
        """Raises `RunError` if the generator is unconditional; the message names `option`."""
        if self.generator.spec.num_classes == 0:
            raise RunError(
                f"the generator of {self.name} is unconditional: leave {option} out, or train a conditional "
                "recipe on a set with classes"
            )

    def _samples(
        self,
        seeds: Sequence[int],
        labels: Sequence[int] | None,
        truncation: float | None,
        batch: int,
        classes: ClassSampling | None = None,
    ) -> Samples:
        sampling = self.recipe.sampling
        if classes is not None:
            sampling = sampling.model_copy(update={"classes": classes})
        return Samples(
            self.generator,
            self.recipe.latent,
            seeds,
            batch=batch,
            truncation=self.truncation if truncation is None else truncation,
            labels=labels,
            sampling=sampling,
        )


def default_sample_count(reference_count: int) -> int:
    """Returns the default number of samples to judge: as many as the reference, but 2,048 to 10,000.

    Fewer samples bias FID; 10,000 is the number of Kaggle's competition.
    """
    return min(DEFAULT_COUNT, max(reference_count, RECOMMENDED_COUNT))
