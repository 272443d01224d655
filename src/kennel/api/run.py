"""Trained generators and runs as objects."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
import numpy.typing as npt
import torch

from kennel.api.display import SampleGrid, Scores
from kennel.api.images import Images, PathLike, evaluated
from kennel.config.recipe import ClassSampling, Recipe
from kennel.data.dataset import ImageDataset
from kennel.errors import RunError
from kennel.evaluation.score import write_judgements
from kennel.networks import Generator
from kennel.registry import unknown_name
from kennel.reporting import write_report
from kennel.runs import checkpoint as checkpoints
from kennel.runs.progress import progress_of
from kennel.runs.run_dir import RunDir
from kennel.sampling.animation import Animation
from kennel.sampling.likeness import Likeness, LikeOptions, like
from kennel.sampling.loaded_generator import LoadedGenerator
from kennel.sampling.moving import MovieOptions, interpolation, morph, truncation_sweep
from kennel.sampling.pictures import Picture
from kennel.sampling.png_metadata import grid_text
from kennel.sampling.resolve import load_generator
from kennel.sampling.sample_files import class_number
from kennel.sampling.sampler import Samples
from kennel.sampling.style_mixing import style_mixing
from kennel.sampling.timelapse import timelapse
from kennel.storage.atomic_io import taken


class TrainedGenerator:
    """The generator of an exported file, a fetched release or (subclass `Run`) a run.

    Attributes: `path`; `device`.
    """

    def __init__(self, path: Path, device: torch.device, *, averaged: bool = True) -> None:
        """Reads nothing yet; `averaged` False uses a run's trained weights instead of their average (EMA)."""
        self.path, self.device = path, device
        self._averaged = averaged
        self._cache: dict[str, tuple[str, LoadedGenerator]] = {}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.path}: {self.recipe.name}>"

    @property
    def recipe(self) -> Recipe:
        """The resolved recipe."""
        return self.loaded().recipe

    @property
    def generator(self) -> Generator:
        """The `nn.Module` in evaluation mode: latents (batch, latent_dim) and labels, int64 (batch) or None,
        to images (batch, channels, size, size) in [-1, 1]."""
        return self.loaded().generator

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names by label; empty without classes."""
        return self.loaded().classes if self.recipe.num_classes else ()

    @property
    def images_seen(self) -> int:
        """The number of training images shown to the discriminator."""
        return self.loaded().images_seen

    def loaded(self, checkpoint: str = "newest") -> LoadedGenerator:
        """Returns the generator of a checkpoint with its metadata; cached until checkpoints change."""
        version = self._version()
        cached = self._cache.get(checkpoint)
        if cached is None or cached[0] != version:
            self._cache = {name: one for name, one in self._cache.items() if one[0] == version}
            found = load_generator(self.path, checkpoint, self.device, averaged=self._averaged)
            cached = self._cache[checkpoint] = (version, found)
        return cached[1]

    def _version(self) -> str:
        """A string that changes when the weights may have changed."""
        return ""

    def sample(
        self,
        count: int = 16,
        seed: int = 0,
        classes: str | int | None = None,
        truncation: float | None = None,
        checkpoint: str = "newest",
        *,
        seeds: Sequence[int] | None = None,
    ) -> SampleGrid:
        """Draws the images of seeds `seed` to `seed + count - 1`; each depends only on its seed.

        `seeds` are drawn instead, if they are given. `classes` of a conditional generator: a class by name or
        number; "each" for `count` images of every class, one row per class; "data" (distributed as in the
        training set) or "uniform" to draw a class per seed; None as in the recipe. `truncation` redraws
        latent values beyond it or, with a mapping network, scales the distance from the mean style.
        `checkpoint` of a run: "newest", "best", "epoch:70", or a number of images. Raises `RunError` or
        `UnknownNameError`.
        """
        loaded = self.loaded(checkpoint)
        if seeds is not None and classes == "each":
            raise RunError('classes="each" draws the seeds from `seed` on: leave `seeds` out')
        chosen = range(seed, seed + count) if seeds is None else tuple(seeds)
        samples = _samples(loaded, chosen, classes, truncation)
        batches = list(samples)
        labels = [label for batch in batches for label in batch.labels or ()]
        text = grid_text(loaded.fingerprint, loaded.images_seen, samples.seeds, loaded.teacher)
        pixels = np.concatenate([batch.pixels for batch in batches])
        columns = len(chosen) if classes == "each" else None
        return SampleGrid(pixels, tuple(samples.seeds), labels or None, text, columns, loaded.classes)

    def interpolate(
        self,
        seeds: Sequence[int] = range(10),
        *,
        class_: str | int | None = None,
        checkpoint: str = "newest",
        **options: Any,
    ) -> Animation:
        """Returns a walk from seed to seed, all of one class or, without one, of the class of each seed.

        `options` are those of `MovieOptions`: `frames` from one seed to the next (30), `fps` (30), `loop`
        (True), `count` walks in one grid (1) of `columns`, `truncation`, `classes`, `batch`. Raises
        `RunError`.
        """
        loaded = self.loaded(checkpoint)
        return interpolation(loaded, tuple(seeds), _label(loaded, class_), _movie(options))

    def morph(
        self,
        classes: Sequence[str | int],
        *,
        seed: int = 0,
        checkpoint: str = "newest",
        **options: Any,
    ) -> Animation:
        """Returns a walk from class to class (names or numbers) with one seed; `options` as `interpolate`."""
        loaded = self.loaded(checkpoint)
        labels = [class_number(str(one), loaded, "morph") for one in classes]
        return morph(loaded, labels, seed, _movie(options))

    def sweep(
        self,
        *,
        count: int = 16,
        seed: int = 0,
        class_: str | int | None = None,
        checkpoint: str = "newest",
        **options: Any,
    ) -> Animation:
        """Returns a grid of the seeds `seed` to `seed + count - 1` at decreasing truncation.

        `options` as `interpolate`; `frames` (60) are those in one direction, `truncation` is the last one.
        """
        loaded = self.loaded(checkpoint)
        return truncation_sweep(loaded, seed, _label(loaded, class_), _movie({"count": count, **options}))

    def mix(
        self,
        rows: Sequence[int],
        columns: Sequence[int],
        layers: str = "coarse",
        *,
        class_: str | int | None = None,
        truncation: float | None = None,
        checkpoint: str = "newest",
    ) -> Picture:
        """Returns a grid with the columns' styles in some layers and the rows' in the others.

        `rows` and `columns` are seeds, `layers` "coarse", "middle" or "fine". Raises `RunError` without a
        mapping network.
        """
        loaded = self.loaded(checkpoint)
        label = _label(loaded, class_)
        return style_mixing(loaded, rows, columns, layers, label=label, truncation=truncation)

    def like(
        self,
        image: PathLike | npt.NDArray[Any],
        *,
        steps: int = 200,
        seed: int = 0,
        class_: str | int | None = None,
        checkpoint: str = "newest",
    ) -> Likeness:
        """Finds the latent (or style) of which the generator's image is nearest to `image`.

        `image` is a file or uint8 (C, H, W), of which the center square is used. Raises `RunError`, and
        `WeightsError` if the network of the feature distance is not installed.
        """
        loaded = self.loaded(checkpoint)
        given = Path(image) if isinstance(image, str | Path) else image
        return like(loaded, given, _label(loaded, class_), LikeOptions(steps, seed))

    def judge(
        self,
        data: Images | None = None,
        metrics: str | Iterable[str] | None = None,
        *,
        count: int | None = None,
        seed: int = 0,
        truncation: float | None = None,
        checkpoint: str = "newest",
        **settings: Any,
    ) -> Scores:
        """Scores samples against real images; for `settings` see `kennel.judge`.

        The default of `data` is a run's training set. Scores of a run are saved in its folder `judgements`,
        for its report.
        """
        scores = evaluated(
            self.loaded(checkpoint),
            self._training_set() if data is None else data,
            metrics,
            count=count,
            seed=seed,
            truncation=truncation,
            device=self.device,
            **settings,
        )
        self._save(scores, checkpoint)
        return scores

    def _training_set(self) -> Images:
        raise RunError(f"{self.path} has no training set: give real images, judge(data)")

    def _save(self, scores: Scores, checkpoint: str) -> None:
        """Saves scores if there is a folder for them."""


class Run(TrainedGenerator):
    """A run and its folder.

    Attributes: `path`; `device`; `finished`, whether the budget is used up or the run was stopped early.
    """

    def __init__(
        self, path: Path, device: torch.device, *, finished: bool | None = None, averaged: bool = True
    ) -> None:
        """Raises `RunError` if `path` is not a run. `finished` None: determined from the log."""
        super().__init__(path, device, averaged=averaged)
        self._folder = RunDir(path)
        self._recipe = self._folder.recipe()
        if finished is None:
            finished = progress_of(self._recipe, self._folder.about(), self.log).finished
        self.finished = finished

    @property
    def recipe(self) -> Recipe:
        """The resolved recipe."""
        return self._recipe

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names by label; empty without classes."""
        return tuple(self._folder.about()["data"]["classes"]) if self._recipe.num_classes else ()

    @property
    def log(self) -> list[dict[str, Any]]:
        """A dictionary per tick, oldest first: `images`, losses, speed, validation scores."""
        return self._folder.log()

    @property
    def data(self) -> ImageDataset:
        """The training set; raises `DataError` if it does not exist any more."""
        return ImageDataset(self._folder.about()["data"]["path"])

    def timelapse(self, fps: int = 4) -> Animation:
        """Returns the run's sample grids, the same latents through training; raises `RunError` for fewer than
        two."""
        return timelapse(self.path, fps)

    def report(self) -> Path:
        """Writes `report.html` and `curves.png` into the folder; returns the path of the page."""
        return write_report(self._folder)

    def _version(self) -> str:
        files = [*checkpoints.in_folder(self._folder.checkpoints)[:1], self._folder.best_checkpoint]
        return " ".join(f"{file.name} {file.stat().st_mtime_ns}" for file in files if file.is_file())

    def _training_set(self) -> Images:
        return self.data

    def _save(self, scores: Scores, checkpoint: str) -> None:
        seen = self.loaded(checkpoint).images_seen
        name = f"{seen:010d}-{datetime.now():%Y%m%d-%H%M%S}"
        extractor = scores[0].protocol.extractor
        names = (f"{name}{f'-{number}' if number else ''}-{extractor}.json" for number in range(10_000))
        # `taken` creates the file, so that two processes do not choose the same name.
        file = next(self._folder.judgements / one for one in names if taken(self._folder.judgements / one))
        write_judgements(file, list(scores))


def _label(loaded: LoadedGenerator, class_: str | int | None) -> int | None:
    return None if class_ is None else class_number(str(class_), loaded, "class_")


def _movie(options: Mapping[str, Any]) -> MovieOptions:
    """Raises `UnknownNameError` for an unknown option."""
    known = [one.name for one in fields(MovieOptions)]
    for name in options:
        if name not in known:
            raise unknown_name("option of a moving picture", name, known)
    return MovieOptions(**options)


def _samples(
    loaded: LoadedGenerator, seeds: Sequence[int], classes: str | int | None, truncation: float | None
) -> Samples:
    if classes == "each":
        return loaded.samples_per_class(len(seeds), seeds[0], truncation)
    if classes in get_args(ClassSampling):
        return loaded.samples_of(seeds, truncation, classes=cast(ClassSampling, classes))
    label = None if classes is None else class_number(str(classes), loaded)
    return loaded.samples_of(seeds, truncation, label)
