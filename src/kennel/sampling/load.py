"""A run's folder becomes a generator that is ready to sample."""

import math
import re
from dataclasses import dataclass
from pathlib import Path

import torch

from kennel.config.recipe import ClassSampling, Recipe
from kennel.engine.builder import build_step, refuse_unregistered, sampling_generator
from kennel.engine.compute_defaults import refuse_tf32, uncompiled
from kennel.engine.running_means import RunningMeans
from kennel.errors import RunError
from kennel.networks import Generator
from kennel.runs import checkpoint
from kennel.runs.identity import identity_of
from kennel.runs.pretrained_teacher import recorded_teacher
from kennel.runs.run_dir import RunDir
from kennel.sampling.loaded import LoadedGenerator
from kennel.sampling.sampler import SampledSet
from kennel.techniques import Networks

EPOCH = "epoch:"
"""What a checkpoint is asked for by its epoch with: `epoch:70`."""


@dataclass(frozen=True)
class LoadedRun(LoadedGenerator):
    """A run's generator, ready to sample, and who it is."""

    folder: RunDir
    recipe: Recipe
    generator: Generator
    images_seen: int
    fingerprint: str
    averaged: bool
    teacher: str | None = None
    """The pretrained network that taught it, by the name of its extractor."""

    @property
    def name(self) -> str:
        """The run's folder, as it was given."""
        return str(self.folder.path)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes of the run's set."""
        return tuple(self.folder.about()["data"]["classes"])


def load_run(
    run: Path, which: str = "newest", device: torch.device | None = None, averaged: bool = True
) -> LoadedRun:
    """A run's generator from its `which` checkpoint: "newest", "best", "epoch:70", or a count of images.

    `averaged` False takes the generator that was playing in place of its average. On CUDA the process draws
    in whole float32 from then on, as it does in training.
    """
    return load_players(run, which, device, averaged)[0]


def load_players(
    run: Path, which: str = "newest", device: torch.device | None = None, averaged: bool = True
) -> tuple[LoadedRun, Networks]:
    """What `load_run` gives, and both networks as they were playing there."""
    refuse_tf32()
    folder = RunDir(run)
    recipe = folder.recipe()
    refuse_unregistered(recipe, f"the run in {folder.path}")
    found = _find_checkpoint(folder, which)
    step = build_step(uncompiled(recipe), device or torch.device("cpu"))
    checkpoint.restore(found, step, RunningMeans())
    playing = step.networks.generator
    generator = sampling_generator(step) if averaged else playing
    fingerprint = f"{folder.fingerprint()}-{found.metadata['checksum'][:16]}"
    loaded = LoadedRun(
        folder,
        recipe,
        generator,
        found.images_seen,
        fingerprint,
        averaged=generator is not playing,
        teacher=step.networks.discriminator.teacher or recorded_teacher(folder),
    )
    return loaded, step.networks


def _find_checkpoint(folder: RunDir, which: str) -> checkpoint.Checkpoint:
    if which == "best":
        if not folder.best_checkpoint.is_file():
            raise RunError(f"{folder.path} has no best checkpoint (it was not validated): take the newest")
        return checkpoint.load(folder.best_checkpoint, identity_of(folder))
    if which.startswith(EPOCH):
        return checkpoint.load(of_epoch(folder, which.removeprefix(EPOCH)), identity_of(folder))
    if which != "newest":
        path = folder.checkpoints / checkpoint.name_for(int(which)) if which.isdecimal() else Path(which)
        if not path.is_file():
            kept = [str(int(path.stem)) for path in checkpoint.in_folder(folder.checkpoints)]
            raise RunError(
                f"{folder.path} has no checkpoint '{which}': give newest, best, or a count of images that is "
                f"kept: {', '.join(kept)}; or epoch:N"
            )
        return checkpoint.load(path, identity_of(folder))
    found = checkpoint.newest(folder.checkpoints, run=identity_of(folder))
    if found is None:
        raise RunError(f"{folder.path} has no checkpoint yet: let `kennel train` reach its first tick")
    return found


def epoch_of(folder: RunDir, images_seen: int) -> float | None:
    """How often the images of its set had been seen; None where the run does not say how many there are."""
    count = folder.about()["data"].get("count")
    return images_seen / count if isinstance(count, int) and count > 0 else None


def of_epoch(folder: RunDir, given: str) -> Path:
    """The kept checkpoint nearest to the end of epoch `given`, a number, and less than half an epoch off."""
    kept = checkpoint.in_folder(folder.checkpoints)[::-1]
    epochs = [(epoch_of(folder, int(path.stem)), path) for path in kept]
    known = [(epoch, path) for epoch, path in epochs if epoch is not None]
    wanted = float(given) if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", given) else None
    if wanted is None:
        raise RunError(f"'{EPOCH}{given}' is no epoch: write {EPOCH}70")
    off, path = min(((abs(epoch - wanted), path) for epoch, path in known), default=(math.inf, None))
    if path is None or not off < 0.5:
        there = ", ".join(f"{epoch:.4g}" for epoch, _ in known) or "none"
        raise RunError(
            f"{folder.path} keeps no checkpoint of epoch {given}: there are those of epochs {there}; "
            "`--set keep_every_ticks=N` keeps that of every N-th tick from the next on"
        )
    return path


def sampled_set(
    run: Path,
    count: int,
    seed: int = 0,
    truncation: float | None = None,
    which: str = "newest",
    device: torch.device | None = None,
    classes: ClassSampling | None = None,
) -> SampledSet:
    """`count` samples of a run as an `ImageSet`, to be judged; `classes` as in `LoadedRun.samples`."""
    loaded = load_run(run, which, device)
    samples = loaded.samples(count, seed, truncation, classes=classes)
    return SampledSet(samples, str(run), loaded.fingerprint, teacher=loaded.teacher)
