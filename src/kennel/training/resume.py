"""A run goes on from its newest whole checkpoint."""

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
from kennel.training.restore import restore


def resume(
    state: TrainState, run_dir: RunDir, recipe: Recipe, spectra: Spectra, log: Callable[[str], None]
) -> None:
    """Brings `state` to the newest whole checkpoint of the run, where there is one.

    What a killed process left half-written is removed; a damaged checkpoint is set aside, and `log` says so.
    Raises `CheckpointError` where there were checkpoints and none is whole.
    """
    damaged: list[CheckpointError] = []
    for place in (run_dir.path, run_dir.checkpoints, run_dir.samples):
        remove_partial_files(place)
    run = identity_of(run_dir)
    found = _newest(run_dir, run, damaged.append, log)
    for path in checkpoint.in_folder(run_dir.checkpoints):
        if found is not None and int(path.stem) > found.images_seen:
            checkpoint.quarantine(path)
    for error in damaged:
        aside = "it is set aside, and the one before it" if found is not None else "the one before it"
        log(f"{_capital(error)}: {aside} is taken.")
    rollbacks = int(found.metadata.get("rollbacks", 0)) if found else 0
    # A tick that is due again, after its validation was cancelled, writes its lines again.
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
            f"the checkpoint {found.path} says nothing of its {missing.args[0]}, which kennel's own do: "
            "take it away, and the one before it is taken"
        ) from None
    if state.images_seen and not state.best.should_stop_early(recipe.validation.patience):
        log(f"Going on from {state.images_seen:,} images.")
    _check_best(state, run_dir, run, log)


def _newest(
    run_dir: RunDir, run: str, damaged: Callable[[CheckpointError], None], log: Callable[[str], None]
) -> checkpoint.Checkpoint | None:
    """The newest whole checkpoint, and where none of the numbered ones is, the best; None for a new run.

    Raises `CheckpointError` where there were some and none is left: beginning again would cut the log.
    """
    reason = None
    try:
        if found := checkpoint.newest(run_dir.checkpoints, damaged, run):
            return found
    except CheckpointFormatError:
        raise
    except CheckpointError as error:
        reason = error
    # A first tick that was killed between its line and its checkpoint is no loss.
    if reason is None and len(run_dir.log()) < 2:
        return None
    try:
        best = checkpoint.load(run_dir.best_checkpoint, run)
    except CheckpointFormatError:
        raise
    except CheckpointError:
        raise reason or CheckpointError(
            f"the run in {run_dir.path} has a log and no checkpoint: bring one back from a copy, or begin "
            "anew with another --out"
        ) from None
    log(f"No numbered checkpoint is left: the best, of {best.images_seen:,} images, is taken.")
    return best


def _check_best(state: TrainState, run_dir: RunDir, run: str, log: Callable[[str], None]) -> None:
    """A damaged best is reported, and made again where the checkpoint that it came from is still kept."""
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
        # At that count a rollback may have left another one, which knows of another best, or of none.
        now = {**state.best.about(), VALIDATIONS_SINCE_BEST: 0}
        if same is None or state.best.value is None or any(same.metadata.get(key) != now[key] for key in now):
            log(f"{_capital(error)}: the run goes on, and the next best takes its place.")
            return
        checkpoint.save(path, same.tensors, same.metadata)
        log(f"{_capital(error)}: it was made again from {same.path.name}.")


def _capital(error: Exception) -> str:
    return f"{str(error)[0].upper()}{str(error)[1:]}"
