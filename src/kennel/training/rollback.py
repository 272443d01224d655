"""A run is taken back to a checkpoint from before the signs of what went wrong, and draws anew from there."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol, runtime_checkable

from kennel.config.recipe import Recipe
from kennel.distributed import rank
from kennel.engine.trainer import Progress, Trainer
from kennel.errors import AlarmError, CheckpointError
from kennel.runs import checkpoint
from kennel.runs.identity import identity_of
from kennel.runs.run_dir import RunDir
from kennel.training.alarm_callback import AlarmMonitor, RollbackRequested
from kennel.training.disk_errors import writing
from kennel.training.rank_sync import broadcast_state
from kennel.training.tensorboard import EventWriter


@runtime_checkable
class Kept(Protocol):
    """What of a `Keeper` a rollback needs."""

    folder: RunDir
    recipe: Recipe
    trainer: Trainer
    alarm_monitor: AlarmMonitor

    def restore(self, found: checkpoint.Checkpoint) -> None:
        """Goes back to this checkpoint."""

    def leave_tick(self) -> None:
        """Forgets the best of a tick whose checkpoint will not be written."""

    def save(self, progress: Progress, *, at_tick: bool) -> None:
        """Writes one of the state as it is."""


def run_with_rollbacks(keeper: Kept, events: EventWriter, say: Callable[[str], None]) -> bool:
    """`Trainer.run`, taken up again after every rollback that an alarm calls for."""
    trainer, alarm_monitor = keeper.trainer, keeper.alarm_monitor
    alarm_monitor.begin(trainer.progress)
    if trainer.progress.images_seen == 0 and rolls_back(keeper.recipe) and rank() == 0:
        keeper.save(trainer.progress, at_tick=True)  # where an alarm of the first ticks leads back to
    while True:
        try:
            return trainer.run()
        except RollbackRequested as back:
            _roll_back(keeper, back, say)
            if rank() == 0:
                with writing(keeper.folder, "a TensorBoard event"):
                    events.rewind(trainer.progress.images_seen)
            alarm_monitor.begin(trainer.progress)


def _roll_back(keeper: Kept, back: RollbackRequested, say: Callable[[str], None]) -> None:
    """First the good checkpoint is written again with the new count, then those after it go.

    A run that is killed between the two finds a checkpoint of the branch that was left, comes to the same
    alarm again, and goes back to the same place with the same count.
    """
    folder, alarm_monitor, progress = keeper.folder, keeper.alarm_monitor, keeper.trainer.progress
    left_at, count = progress.images_seen, alarm_monitor.rollbacks + 1
    if rank() == 0:
        good = _newest_good(folder, back.good_until, say)
        if good is None:
            raise AlarmError(
                f"{back.why}: the run cannot be rolled back, for no whole checkpoint of at most "
                f"{back.good_until:,} images is left; begin again in another --out, with another recipe"
            )
        keeper.restore(good)
        progress.tick_due = False
        keeper.leave_tick()
        alarm_monitor.take_count(count)
        with writing(folder, "alarms.jsonl"):
            folder.append_alarm(
                {"images": left_at, "rollback": count, "rollbacks": count - 1, "back_to": good.images_seen}
            )
        keeper.save(progress, at_tick=True)
        with writing(folder, "what a rollback changes"):
            for path in checkpoint.in_folder(folder.checkpoints):
                if int(path.stem) > good.images_seen:
                    path.unlink()
            folder.rewind_log(good.images_seen, count)
    broadcast_state(keeper.trainer, alarm_monitor)
    keeper.trainer.step.nonfinite_guard.reset()
    factor = keeper.recipe.alarms.rate_factor**count
    rates = "" if factor == 1 else f", and learning rates are {factor:g} of theirs"
    say(
        f"Rollback {count} of at most {keeper.recipe.alarms.max_rollbacks}: from {left_at:,} back to "
        f"{progress.images_seen:,} images. Every draw from there has a new key{rates}."
    )


def _newest_good(folder: RunDir, good_until: int, say: Callable[[str], None]) -> checkpoint.Checkpoint | None:
    """Of this run's checkpoints that were written at ticks, the newest that is old enough and whole."""
    run = identity_of(folder)
    for path in _of_ticks(folder):
        if int(path.stem) <= good_until:
            try:
                return checkpoint.load(path, run)
            except CheckpointError as error:
                say(f"{str(error)[0].upper()}{str(error)[1:]}: the one before it is taken.")
    return None


def _of_ticks(folder: RunDir) -> list[Path]:
    """Newest first; a stop between two ticks leaves one that a run without the stop would not have."""
    return [path for path in checkpoint.in_folder(folder.checkpoints) if checkpoint.at_tick(path)]


def rolls_back(recipe: Recipe) -> bool:
    """Whether an alarm may take the run back."""
    return recipe.alarms.policy == "rollback" and recipe.alarms.max_rollbacks > 0


def how_many_to_keep(folder: RunDir, recipe: Recipe) -> int:
    """How many numbered checkpoints stay: with rollbacks, as far back as an alarm's first signs can lie."""
    if not rolls_back(recipe):
        return of_ticks_to_keep(recipe)
    between = len(checkpoint.in_folder(folder.checkpoints)) - len(_of_ticks(folder))
    return of_ticks_to_keep(recipe) + between


def of_ticks_to_keep(recipe: Recipe) -> int:
    """How many of those that were written at ticks."""
    wanted = recipe.keep_checkpoints
    return max(wanted, recipe.alarms.longest + 1) if rolls_back(recipe) else wanted


def tidy(folder: RunDir, recipe: Recipe) -> None:
    """After a tick's checkpoint, removes what stops between ticks have left: a rollback finds what it would
    without."""
    if rolls_back(recipe) and rank() == 0:
        for path in set(checkpoint.in_folder(folder.checkpoints)) - set(_of_ticks(folder)):
            path.unlink()
