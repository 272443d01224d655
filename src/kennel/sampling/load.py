"""Loads the generator of a run."""

import math
import re
from dataclasses import dataclass
from pathlib import Path

import torch

from kennel.engine.builder import build_step, refuse_unregistered, sampling_generator
from kennel.engine.compute_defaults import refuse_tf32, uncompiled
from kennel.engine.running_means import RunningMeans
from kennel.errors import RunError
from kennel.runs import checkpoint
from kennel.runs.identity import identity_of
from kennel.runs.pretrained_teacher import recorded_teacher
from kennel.runs.run_dir import RunDir
from kennel.sampling.loaded_generator import LoadedGenerator
from kennel.techniques import Networks

EPOCH = "epoch:"
"""Prefix of a checkpoint given by its epoch, as in `epoch:70`."""


@dataclass(frozen=True, kw_only=True)
class LoadedRun(LoadedGenerator):
    """A run's generator, ready to sample."""

    folder: RunDir

    @property
    def name(self) -> str:
        return str(self.folder.path)

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self.folder.about()["data"]["classes"])


def load_run(
    run: Path, which: str = "newest", device: torch.device | None = None, averaged: bool = True
) -> LoadedRun:
    """Loads the generator of a checkpoint: "newest", "best", "epoch:70", or a number of images.

    `averaged` False loads the trained weights instead of their average. Disables TF32 on CUDA for the whole
    process, as training does.
    """
    return load_networks(run, which, device, averaged)[0]


def load_networks(
    run: Path, which: str = "newest", device: torch.device | None = None, averaged: bool = True
) -> tuple[LoadedRun, Networks]:
    """Returns what `load_run` returns, and both networks with their trained weights."""
    refuse_tf32()
    folder = RunDir(run)
    recipe = folder.recipe()
    refuse_unregistered(recipe, f"the run in {folder.path}")
    found = _find_checkpoint(folder, which)
    step = build_step(uncompiled(recipe), device or torch.device("cpu"))
    checkpoint.restore(found, step, RunningMeans())
    trained = step.networks.generator
    generator = sampling_generator(step) if averaged else trained
    loaded = LoadedRun(
        folder=folder,
        recipe=recipe,
        generator=generator,
        images_seen=found.images_seen,
        fingerprint=f"{folder.fingerprint()}-{found.metadata['checksum'][:16]}",
        averaged=generator is not trained,
        teacher=step.networks.discriminator.teacher or recorded_teacher(folder),
    )
    return loaded, step.networks


def _find_checkpoint(folder: RunDir, which: str) -> checkpoint.Checkpoint:
    if which == "newest":
        found = checkpoint.newest(folder.checkpoints, run=identity_of(folder))
        if found is None:
            raise RunError(f"{folder.path} has no checkpoint yet: wait for the first tick of `kennel train`")
        return found
    if which == "best":
        path = folder.best_checkpoint
        if not path.is_file():
            raise RunError(f"{folder.path} has no best checkpoint (it was not validated): take the newest")
    elif which.startswith(EPOCH):
        path = of_epoch(folder, which.removeprefix(EPOCH))
    else:
        path = folder.checkpoints / checkpoint.name_for(int(which)) if which.isdecimal() else Path(which)
        if not path.is_file():
            kept = [str(int(path.stem)) for path in checkpoint.in_folder(folder.checkpoints)]
            raise RunError(
                f"{folder.path} has no checkpoint '{which}': give newest, best, epoch:N, or one of the "
                f"numbers of images that are kept: {', '.join(kept)}"
            )
    return checkpoint.load(path, identity_of(folder))


def epoch_of(folder: RunDir, images_seen: int) -> float | None:
    """Returns the epoch after `images_seen` images; None if the run does not record the set's size."""
    count = folder.about()["data"].get("count")
    return images_seen / count if isinstance(count, int) and count > 0 else None


def of_epoch(folder: RunDir, given: str) -> Path:
    """Returns the kept checkpoint closest to the end of epoch `given`, less than half an epoch away."""
    kept = checkpoint.in_folder(folder.checkpoints)[::-1]
    epochs = [(epoch_of(folder, int(path.stem)), path) for path in kept]
    known = [(epoch, path) for epoch, path in epochs if epoch is not None]
    wanted = float(given) if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", given) else None
    if wanted is None:
        raise RunError(f"'{EPOCH}{given}' is not an epoch: write {EPOCH}70")
    distance, path = min(((abs(epoch - wanted), path) for epoch, path in known), default=(math.inf, None))
    if path is None or not distance < 0.5:
        available = ", ".join(f"{epoch:.4g}" for epoch, _ in known) or "none"
        raise RunError(
            f"{folder.path} keeps no checkpoint of epoch {given}, only of these epochs: {available}; "
            "`--set keep_every_ticks=N` keeps every N-th tick from the next one on"
        )
    return path
