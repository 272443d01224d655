"""A new run from the weights of another: its recipe may differ, as long as the same networks come of it."""

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from kennel import checkpoint, randomness
from kennel.errors import CheckpointError, RunError
from kennel.monitor import Tally
from kennel.recipe import Recipe
from kennel.run_folder import RunFolder
from kennel.step import Step
from kennel.wiring.best import Best
from kennel.wiring.identity import identity_of

NAMED = 3
"""How many differences of a network a refusal names."""


def begin_fork(
    folder: RunFolder,
    parent: Path,
    recipe: Recipe,
    about: Mapping[str, Any],
    step: Step,
    say: Callable[[str], None],
) -> None:
    """Begins the run of `folder` with the weights of the newest whole checkpoint of `parent`.

    They are its checkpoint at 0 images: both networks, and the state of each technique that is the same in
    both; optimisers are new. The folder appears whole or not at all. Raises `RunError` where the folder is
    in use, and `CheckpointError` where a network is another one, by the names and shapes that differ.
    """
    folder.refuse_other_content(dot_files_too=True)
    old = RunFolder(parent)
    old.recipe()
    found = checkpoint.newest(
        old.checkpoints, lambda error: say(f"{error}: the one before is taken."), identity_of(old)
    )
    if found is None:
        raise RunError(f"{parent} has no checkpoint to begin from yet: let it reach its first tick")
    fresh = take_weights(found, step, recipe.seed)
    origin = {
        "path": str(parent.resolve()),
        "run": identity_of(old),
        "fingerprint": old.fingerprint(),
        "images_seen": found.images_seen,
        "checksum": found.about["checksum"],
    }
    folder.path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.path.name}.", suffix=".part", dir=folder.path.parent))
    try:
        temporary.chmod(0o755)
        new = RunFolder(temporary)
        new.begin(recipe, {**about, "parent": origin})
        words: dict[str, Any] = {"images_seen": 0, "seconds": 0.0, "tick_due": False, "at_tick": True}
        words |= {"recipe": recipe.fingerprint(), "run": identity_of(new)}
        words |= Best(recipe.validation.metric).about()
        tensors = checkpoint.collect(step, Tally())
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
    anew = f"; {', '.join(fresh)} begin{'s' if len(fresh) == 1 else ''} anew" if fresh else ""
    say(f"{folder.path} begins with the weights of {parent} at {found.images_seen:,} images{anew}.")


def check_parent(folder: RunFolder, parent: Path) -> None:
    """Raises `RunError` where the run that is there already did not begin from `parent`.

    A parent that has gone on since, with a larger budget, is still the same run.
    """
    origin, old = folder.about().get("parent"), RunFolder(parent)
    known = isinstance(origin, Mapping) and (
        origin["run"] == identity_of(old)
        if "run" in origin
        else origin.get("fingerprint") == old.fingerprint()
    )
    if not known:
        raise RunError(
            f"{folder.path} is a run already, and it did not begin from {parent}: give --fork a new folder"
        )


def take_weights(found: checkpoint.Checkpoint, step: Step, seed: int) -> list[str]:
    """Puts a checkpoint's networks and its techniques' states into `step`; gives the techniques that begin
    anew, since the checkpoint has no state of theirs, or another one."""
    networks = {"generator": step.players.generator, "discriminator": step.players.discriminator}
    differences = [line for name, network in networks.items() for line in _differences(name, network, found)]
    if differences:
        more = "" if len(differences) <= NAMED else f" and {len(differences) - NAMED} more"
        raise CheckpointError(
            f"the weights of {found.path} are of other networks ({'; '.join(differences[:NAMED])}{more}): "
            "leave the networks as they were, or begin anew with another --out"
        )
    for name, network in networks.items():
        network.load_state_dict(found.below(name))
    fresh = []
    for name, technique in step.named_techniques.items():
        own, given = technique.state_dict(), found.below(f"technique.{name}")
        if _shapes(own) != _shapes(given):
            fresh.append(name)
            if technique.stage == "copy":  # what it copied were the weights before these
                technique.build(step.players, randomness.generator(seed, f"build of {name}"))
        elif own:
            technique.load_state_dict(given)
    return fresh


def _differences(name: str, network: nn.Module, found: checkpoint.Checkpoint) -> list[str]:
    here, there = _shapes(network.state_dict()), _shapes(found.below(name))
    lines = [f"{name}.{key} is new" for key in here if key not in there]
    lines += [f"{name}.{key} is gone" for key in there if key not in here]
    lines += [
        f"{name}.{key} was {_words(there[key])} and is {_words(shape)}"
        for key, shape in here.items()
        if key in there and there[key] != shape
    ]
    return lines


def _shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in state.items()}


def _words(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "a number"
