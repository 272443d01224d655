"""Starts a new run with the weights of another; recipe and set may differ, and layers that fit are copied."""

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from kennel.config.recipe import Recipe
from kennel.engine.best_metric import BestMetric
from kennel.engine.running_means import RunningMeans
from kennel.engine.step import GANStep
from kennel.errors import RunError
from kennel.runs import checkpoint
from kennel.runs.identity import identity_of
from kennel.runs.run_dir import RunDir
from kennel.training.weight_transfer import transfer_weights


def begin_fork(
    folder: RunDir,
    parent: Path,
    recipe: Recipe,
    about: Mapping[str, Any],
    step: GANStep,
    log: Callable[[str], None],
) -> None:
    """Creates the run in `folder` with the weights of the newest intact checkpoint of `parent`.

    Its checkpoint at 0 images has the layers that fit (see `transfer_weights`), the state of techniques that
    are the same in both, and new optimizers. `log` and `run.json` name what was not copied. The folder is
    created atomically. Raises `RunError` if it is in use, and `CheckpointError` if nothing fits.
    """
    folder.refuse_other_content(dot_files_too=True)
    old = RunDir(parent)
    old_recipe = old.recipe()
    found = checkpoint.newest(
        old.checkpoints, lambda error: log(f"{error}: the one before is used."), identity_of(old)
    )
    if found is None:
        raise RunError(f"{parent} has no checkpoint yet to start from: wait for its first tick")
    same_classes = list(about["data"]["classes"]) == old.about()["data"]["classes"]
    transfer = transfer_weights(found, old_recipe, step, recipe, same_classes=same_classes)
    origin = {
        "path": str(parent.resolve()),
        "run": identity_of(old),
        "fingerprint": old.fingerprint(),
        "images_seen": found.images_seen,
        "checksum": found.metadata["checksum"],
        **transfer.about(),
    }
    folder.path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.path.name}.", suffix=".part", dir=folder.path.parent))
    try:
        temporary.chmod(0o755)
        new = RunDir(temporary)
        new.begin(recipe, {**about, "parent": origin})
        metadata: dict[str, Any] = {"images_seen": 0, "seconds": 0.0, "tick_due": False, "at_tick": True}
        metadata |= {"recipe": recipe.fingerprint(), "run": identity_of(new)}
        metadata |= origin_metadata(new.about())
        metadata |= BestMetric(recipe.validation.metric).about()
        tensors = checkpoint.collect(step, RunningMeans())
        checkpoint.save(new.checkpoints / checkpoint.name_for(0), tensors, metadata)
        if folder.path.is_dir():
            folder.path.rmdir()  # fails unless it is empty
        os.rename(temporary, folder.path)  # noqa: PTH104 (fails if a folder appeared meanwhile)
    except OSError as error:
        raise RunError(
            f"{folder.path} cannot be created from {parent}: {(error.strerror or '').lower()}"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    log(
        f"{folder.path} starts with the weights of {parent} at {found.images_seen:,} "
        f"images{transfer.in_words()}."
    )


def check_parent(folder: RunDir, parent: Path) -> None:
    """Raises `RunError` if the existing run in `folder` did not start from `parent`.

    A parent that was continued since, with a larger budget, is still the same run.
    """
    origin, old = folder.about().get("parent"), RunDir(parent)
    known = isinstance(origin, Mapping) and (
        origin["run"] == identity_of(old)
        if "run" in origin
        else origin.get("fingerprint") == old.fingerprint()
    )
    if not known:
        raise RunError(
            f"{folder.path} is a run already, but it did not start from {parent}: give another --out"
        )


def origin_metadata(about: Mapping[str, Any]) -> dict[str, Any]:
    """The parent and the teacher in a run's `run.json`, if any, for its checkpoints."""

    found: dict[str, Any] = {}
    if about.get("teacher") is not None:
        found["teacher"] = about["teacher"]
    origin = about.get("parent")
    if isinstance(origin, Mapping):
        keys = ("run", "images_seen", "checksum")
        found["parent"] = {key: origin[key] for key in keys if key in origin}
    return found
