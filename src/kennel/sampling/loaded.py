"""What there is to draw from: a generator with its recipe, from a run or from an exported file."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from kennel.config.recipe import ClassSampling, Recipe
from kennel.errors import RunError
from kennel.networks import Generator
from kennel.sampling.sampler import DEFAULT_BATCH, SampledSet, Samples, a_row_a_class


class LoadedGenerator(ABC):
    """A generator that is ready to sample, and who it is.

    Attributes: `recipe`, resolved; `generator`; `images_seen`, images shown to the discriminator until then;
    `fingerprint`, which changes whenever the weights do; `averaged`, whether the weights are an average;
    `teacher`, the pretrained network that taught it, by the name of its extractor; `truncation`, what is
    drawn with where none is asked for.
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
        """What messages call it."""

    @property
    @abstractmethod
    def classes(self) -> tuple[str, ...]:
        """The names of the classes by label; empty where there are none."""

    def truncated_at(self, given: float | None) -> float | None:
        """The truncation that samples are drawn with where `given` is asked for."""
        return self.truncation if given is None else given

    def sampled_set(
        self, count: int, seed: int = 0, truncation: float | None = None, classes: ClassSampling | None = None
    ) -> SampledSet:
        """`count` samples as an `ImageSet`, to be judged; `classes` as in `samples`."""
        name = f"{self.name} at {self.images_seen:,} images"
        if self.truncated_at(truncation) is not None:
            name += f", truncation {self.truncated_at(truncation)}"
        samples = self.samples(count, seed, truncation, classes=classes)
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
        """The images of seeds `seed` to `seed + count - 1`, all of the class `label` where it is given.

        Without it each seed draws its class, as `classes` says: "data" as often as the training set has each,
        "uniform" all alike, None as the run's recipe says. Raises `RunError` for a generator without classes.
        """
        if classes is not None:
            self._refuse_without_classes("--classes")
        if classes is not None and label is not None:
            raise RunError(
                "--class asks for one class, and --classes says how each seed draws its own: give one of them"
            )
        labels = None if label is None else (label,) * count
        return self._samples(range(seed, seed + count), labels, truncation, batch, classes)

    def samples_per_class(
        self, count: int, seed: int = 0, truncation: float | None = None, batch: int = DEFAULT_BATCH
    ) -> Samples:
        """`count` images of every class in turn, of the same seeds."""
        self._refuse_without_classes("--per-class")
        seeds, labels = a_row_a_class(range(seed, seed + count), self.generator.spec.num_classes)
        return self._samples(seeds, labels, truncation, batch)

    def _refuse_without_classes(self, option: str) -> None:
        if self.generator.spec.num_classes == 0:
            raise RunError(
                f"the generator of {self.name} knows no classes: leave {option} out, "
                "or train a conditional recipe on a set with classes"
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
            truncation=self.truncated_at(truncation),
            labels=labels,
            sampling=sampling,
        )
