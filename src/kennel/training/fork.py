"""A new run from the weights of another: its recipe and its set may differ, and what fits is taken."""

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
    say: Callable[[str], None],
) -> None:
    """Begins the run of `folder` with the weights of the newest whole checkpoint of `parent`.

    They are its checkpoint at 0 images: the layers that fit, as `take_weights` says, and the state of each
    technique that is the same in both; optimizers are new. What was not taken is named to `say` and in
    `run.json`. The folder appears whole or not at all. Raises `RunError` where the folder is in use, and
    `CheckpointError` where nothing fits.
    """
    folder.refuse_other_content(dot_files_too=True)
    old = RunDir(parent)
    parents = old.recipe()
    found = checkpoint.newest(
        old.checkpoints, lambda error: say(f"{error}: the one before is taken."), identity_of(old)
    )
    if found is None:
        raise RunError(f"{parent} has no checkpoint to begin from yet: let it reach its first tick")
    same = list(about["data"]["classes"]) == old.about()["data"]["classes"]
    taken = transfer_weights(found, parents, step, recipe, same_classes=same)
    origin = {
        "path": str(parent.resolve()),
        "run": identity_of(old),
        "fingerprint": old.fingerprint(),
        "images_seen": found.images_seen,
        "checksum": found.metadata["checksum"],
        **taken.about(),
    }
    folder.path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.path.name}.", suffix=".part", dir=folder.path.parent))
    try:
        temporary.chmod(0o755)
        new = RunDir(temporary)
        new.begin(recipe, {**about, "parent": origin})
        words: dict[str, Any] = {"images_seen": 0, "seconds": 0.0, "tick_due": False, "at_tick": True}
        words |= {"recipe": recipe.fingerprint(), "run": identity_of(new)}
        words |= origin_in_words(new.about())
        words |= BestMetric(recipe.validation.metric).about()
        tensors = checkpoint.collect(step, RunningMeans())
        checkpoint.save(new.checkpoints / checkpoint.name_for(0), tensors, words)
        if folder.path.is_dir():
            folder.path.rmdir()  # empty, or it is refused here
        os.rename(temporary, folder.path)  # noqa: PTH104 (never into a folder that appeared meanwhile)
    except OSError as error:
        raise RunError(
            f"{folder.path} cannot be made from {parent}: {(error.strerror or '').lower()}"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    say(f"{folder.path} begins with the weights of {parent} at {found.images_seen:,} images{taken.words()}.")


def check_parent(folder: RunDir, parent: Path) -> None:
    """Raises `RunError` where the run that is there already did not begin from `parent`.

    A parent that has gone on since, with a larger budget, is still the same run.
    """
    origin, old = folder.about().get("parent"), RunDir(parent)
    known = isinstance(origin, Mapping) and (
        origin["run"] == identity_of(old)
        if "run" in origin
        else origin.get("fingerprint") == old.fingerprint()
    )
    if not known:
        raise RunError(
            f"{folder.path} is a run already, and it did not begin from {parent}: give another --out"
        )


def origin_in_words(about: Mapping[str, Any]) -> dict[str, Any]:
    """What the checkpoints of a run with this `run.json` say of its parent and its teacher, if any."""
    found: dict[str, Any] = {}
    if about.get("teacher") is not None:
        found["teacher"] = about["teacher"]
    origin = about.get("parent")
    if isinstance(origin, Mapping):
        keys = ("run", "images_seen", "checksum")
        found["parent"] = {key: origin[key] for key in keys if key in origin}
    return found
