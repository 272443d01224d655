"""Continues a run from its newest intact checkpoint, at the start of `train`."""

from collections.abc import Callable

from kennel.config.recipe import Recipe
from kennel.engine.observer import VALIDATIONS_SINCE_BEST
from kennel.engine.singular_values import Spectra
from kennel.engine.state import TrainState
from kennel.errors import CheckpointError, CheckpointFormatError
from kennel.runs import checkpoint
from kennel.runs.identity import identity_of
from kennel.runs.run_dir import RunDir
from kennel.storage.atomic_io import remove_partial_files
from kennel.training.restore import capitalized, restore


def resume(
    state: TrainState, run_dir: RunDir, recipe: Recipe, spectra: Spectra, log: Callable[[str], None]
) -> None:
    """Restores `state` from the newest intact checkpoint of the run, if it has one.

    Removes partial files of a killed process, and renames damaged checkpoints with a message to `log`. Raises
    `CheckpointError` if all checkpoints are damaged.
    """
    damaged: list[CheckpointError] = []
    for folder in (run_dir.path, run_dir.checkpoints, run_dir.samples):
        remove_partial_files(folder)
    run = identity_of(run_dir)
    found = _newest(run_dir, run, damaged.append, log)
    for path in checkpoint.in_folder(run_dir.checkpoints):
        if found is not None and int(path.stem) > found.images_seen:
            checkpoint.quarantine(path)
    for error in damaged:
        action = "it is renamed, and the one before it" if found is not None else "the one before it"
        log(f"{capitalized(error)}: {action} is used.")
    rollbacks = int(found.metadata.get("rollbacks", 0)) if found else 0
    # A tick that is still due, because its validation was cancelled, writes its lines again.
    due = found is not None and bool(found.metadata.get("tick_due", False))
    run_dir.rewind_log(found.images_seen - due if found else 0, rollbacks)
    if found is None:
        return
    restore(state, found, recipe, spectra)
    try:
        state.seconds = float(found.metadata["seconds"])
        state.tick_due = found.metadata["tick_due"]
        state.best.restore(found.metadata)
        state.checkpointed_tick = state.images_seen if found.metadata.get("at_tick", True) else -1
    except KeyError as missing:
        raise CheckpointError(
            f"the checkpoint {found.path} lacks '{missing.args[0]}', so kennel did not write it: remove it, "
            "and the one before it is used"
        ) from None
    if state.images_seen and not state.best.should_stop_early(recipe.validation.patience):
        log(f"Resuming at {state.images_seen:,} images.")
    _check_best(state, run_dir, run, log)


def _newest(
    run_dir: RunDir, run: str, on_damage: Callable[[CheckpointError], None], log: Callable[[str], None]
) -> checkpoint.Checkpoint | None:
    """The newest intact numbered checkpoint, else the best; None for a new run.

    Raises `CheckpointError` if none is left, because starting again would erase the log.
    """
    reason = None
    try:
        if found := checkpoint.newest(run_dir.checkpoints, on_damage, run):
            return found
    except CheckpointFormatError:
        raise
    except CheckpointError as error:
        reason = error
    # A first tick that was killed between its log line and its checkpoint can be repeated.
    if reason is None and len(run_dir.log()) < 2:
        return None
    try:
        best = checkpoint.load(run_dir.best_checkpoint, run)
    except CheckpointFormatError:
        raise
    except CheckpointError:
        raise reason or CheckpointError(
            f"the run in {run_dir.path} has a log but no checkpoint: restore one from a copy, or start a new "
            "run with another --out"
        ) from None
    log(f"No numbered checkpoint is left: the best, at {best.images_seen:,} images, is used.")
    return best


def _check_best(state: TrainState, run_dir: RunDir, run: str, log: Callable[[str], None]) -> None:
    """Reports a damaged best checkpoint, and copies it again from its numbered checkpoint if that is kept."""
    path = run_dir.best_checkpoint
    if not path.exists():
        return
    try:
        checkpoint.load(path, run)
    except CheckpointFormatError:
        return
    except CheckpointError as error:
        try:
            same = checkpoint.load(path.with_name(checkpoint.name_for(state.best.images_seen)), run)
        except CheckpointError:
            same = None
        # After a rollback the checkpoint with this number may be another one, with another best or none.
        now = {**state.best.about(), VALIDATIONS_SINCE_BEST: 0}
        if same is None or state.best.value is None or any(same.metadata.get(key) != now[key] for key in now):
            log(f"{capitalized(error)}: the run continues, and the next best replaces it.")
            return
        checkpoint.save(path, same.tensors, same.metadata)
        log(f"{capitalized(error)}: it was copied again from {same.path.name}.")
