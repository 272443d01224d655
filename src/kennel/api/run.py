"""A trained generator, and the run that it comes from."""

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
import torch

from kennel.api.display import SampleGrid, Scores
from kennel.api.images import Images, evaluated
from kennel.config.recipe import ClassSampling, Recipe
from kennel.data.dataset import ImageDataset
from kennel.errors import RunError
from kennel.evaluation.score import write_judgements
from kennel.networks import Generator
from kennel.reporting import write_report
from kennel.runs import checkpoint as checkpoints
from kennel.runs.run_dir import RunDir
from kennel.sampling.loaded import LoadedGenerator
from kennel.sampling.png_metadata import grid_text
from kennel.sampling.resolve import load_generator
from kennel.sampling.sample_files import class_number
from kennel.sampling.sampler import Samples
from kennel.storage.atomic_io import taken


class TrainedGenerator:
    """A generator that was trained: of an exported file or a fetched release, or, as `Run`, of a run.

    Attributes: `path`; `device`, where it draws.
    """

    def __init__(self, path: Path, device: torch.device, *, averaged: bool = True) -> None:
        """Nothing is read yet; `averaged` False takes a run's weights as they were trained, without EMA."""
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
        """The `nn.Module`, ready to draw: latents (batch, latent_dim) and labels, int64 (batch), None without
        classes, to images (batch, channels, size, size) in [-1, 1]."""
        return self.loaded().generator

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes by label; empty without classes."""
        return self.loaded().classes if self.recipe.num_classes else ()

    @property
    def images_seen(self) -> int:
        """How many training images the discriminator had seen."""
        return self.loaded().images_seen

    def loaded(self, checkpoint: str = "newest") -> LoadedGenerator:
        """The generator of a checkpoint with all that kennel knows of it; read once as long as it stays."""
        stamp = self._stamp()
        known = self._cache.get(checkpoint)
        if known is None or known[0] != stamp:
            self._cache = {name: one for name, one in self._cache.items() if one[0] == stamp}
            found = load_generator(self.path, checkpoint, self.device, averaged=self._averaged)
            known = self._cache[checkpoint] = (stamp, found)
        return known[1]

    def _stamp(self) -> str:
        """Another one where the weights may be others."""
        return ""

    def sample(
        self,
        count: int = 16,
        seed: int = 0,
        classes: str | int | None = None,
        truncation: float | None = None,
        checkpoint: str = "newest",
    ) -> SampleGrid:
        """The images of seeds `seed` to `seed + count - 1`; each is a function of its seed alone.

        `classes` of a conditional generator: a class by name or number; "each" for `count` of every class, a
        row for each; "data" (as often as in the training set) or "uniform" for a draw by each seed, None for
        what the recipe says. `truncation` redraws latent values beyond it or, with a mapping network, is the
        share of the way from the mean style. `checkpoint` of a run: "newest", "best", "epoch:70", or a count
        of images. Raises `RunError` or `UnknownNameError`.
        """
        loaded = self.loaded(checkpoint)
        samples = _samples(loaded, count, seed, classes, truncation)
        batches = list(samples)
        labels = [label for batch in batches for label in batch.labels or ()]
        text = grid_text(loaded.fingerprint, loaded.images_seen, samples.seeds, loaded.teacher)
        pixels = np.concatenate([batch.pixels for batch in batches])
        columns = count if classes == "each" else None
        return SampleGrid(pixels, tuple(samples.seeds), labels or None, text, columns)

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
        """Scores of samples against real images; see `kennel.judge`, which has all `settings`.

        `data` is a run's training set where it is not given. Scores of a run are kept in its folder, for its
        report.
        """
        reference = self._training_set() if data is None else data
        return evaluated(
            self.loaded(checkpoint),
            reference,
            metrics,
            count=count,
            seed=seed,
            truncation=truncation,
            device=self.device,
            **settings,
        )

    def _training_set(self) -> Images:
        raise RunError(f"{self.path} brings no training set with it: give judge(data) real images")


class Run(TrainedGenerator):
    """A run in its folder.

    Attributes: `path`; `device`; `finished`, whether its budget is spent or its patience is over.
    """

    def __init__(
        self, path: Path, device: torch.device, *, finished: bool | None = None, averaged: bool = True
    ) -> None:
        """Raises `RunError` where `path` is no run. `finished` None: as its log says."""
        super().__init__(path, device, averaged=averaged)
        self._folder = RunDir(path)
        self._recipe = self._folder.recipe()
        self.finished = self._is_over() if finished is None else finished

    def _is_over(self) -> bool:
        last = (self.log or [{}])[-1]
        count = self._folder.about()["data"].get("count") or 0
        patience = self._recipe.validation.patience
        waited = last.get("validations_since_best") or 0
        spent = bool(count) and last.get("images", 0) >= self._recipe.budget.in_images(count)
        return spent or (patience is not None and waited >= patience)

    @property
    def recipe(self) -> Recipe:
        """The resolved recipe."""
        return self._recipe

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes by label; empty without classes."""
        return tuple(self._folder.about()["data"]["classes"]) if self._recipe.num_classes else ()

    @property
    def log(self) -> list[dict[str, Any]]:
        """A dictionary for each tick, oldest first: `images`, losses, speed, scores of validations."""
        return self._folder.log()

    @property
    def data(self) -> ImageDataset:
        """The training set; raises `DataError` where it is not at its place any more."""
        return ImageDataset(self._folder.about()["data"]["path"])

    def report(self) -> Path:
        """Writes `report.html` and `curves.png` into the folder; returns the page's path."""
        return write_report(self._folder)

    def _stamp(self) -> str:
        files = [*checkpoints.in_folder(self._folder.checkpoints)[:1], self._folder.best_checkpoint]
        return " ".join(f"{file.name} {file.stat().st_mtime_ns}" for file in files if file.is_file())

    def _training_set(self) -> Images:
        return self.data

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
        """Scores of samples against real images, as of `TrainedGenerator`; kept in `judgements`."""
        scores = super().judge(
            data,
            metrics,
            count=count,
            seed=seed,
            truncation=truncation,
            checkpoint=checkpoint,
            **settings,
        )
        seen = self.loaded(checkpoint).images_seen
        name = f"{seen:010d}-{datetime.now():%Y%m%d-%H%M%S}"
        extractor = scores[0].protocol.extractor
        names = (f"{name}{f'-{number}' if number else ''}-{extractor}.json" for number in range(10_000))
        # Taken before it is written: two that end in one second would find the same name free.
        file = next(self._folder.judgements / one for one in names if taken(self._folder.judgements / one))
        write_judgements(file, list(scores))
        return scores


def _samples(
    loaded: LoadedGenerator, count: int, seed: int, classes: str | int | None, truncation: float | None
) -> Samples:
    if classes == "each":
        return loaded.samples_per_class(count, seed, truncation)
    if classes in get_args(ClassSampling):
        return loaded.samples(count, seed, truncation, classes=cast(ClassSampling, classes))
    label = None if classes is None else class_number(str(classes), loaded)
    return loaded.samples(count, seed, truncation, label)
