"""Takes a training run back to a checkpoint from before an alarm's signs, with new random numbers."""

from collections.abc import Callable
from dataclasses import dataclass

from kennel.config.recipe import Recipe
from kennel.distributed import rank
from kennel.engine.singular_values import Spectra
from kennel.engine.trainer import Trainer
from kennel.errors import AlarmError, CheckpointError
from kennel.runs import checkpoint
from kennel.runs.identity import identity_of
from kennel.runs.run_dir import RunDir
from kennel.training.alarm_callback import RollbackRequested
from kennel.training.checkpointing import CheckpointWriter, checkpoints_of_ticks
from kennel.training.disk_errors import writing
from kennel.training.rank_sync import broadcast_state
from kennel.training.restore import apply_rollbacks, capitalized, restore
from kennel.training.tensorboard import EventWriter


@dataclass
class Rollback:
    """Runs a trainer and rolls the run back when an alarm requests it."""

    run_dir: RunDir
    recipe: Recipe
    spectra: Spectra
    writer: CheckpointWriter
    events: EventWriter

    def run(self, trainer: Trainer, log: Callable[[str], None]) -> bool:
        """Calls `Trainer.run`, again after every rollback."""
        while True:
            try:
                return trainer.run()
            except RollbackRequested as request:
                self._go_back(trainer, request, log)
                if rank() == 0:
                    with writing(self.run_dir, "a TensorBoard event"):
                        self.events.rewind(trainer.state.images_seen)

    def _go_back(self, trainer: Trainer, request: RollbackRequested, log: Callable[[str], None]) -> None:
        """Writes the good checkpoint again with the new count, and only then removes the later ones.

        A run that is killed in between resumes from a later checkpoint, raises the same alarm again, and
        rolls back to the same place with the same count.
        """
        state, run_dir = trainer.state, self.run_dir
        left_at, count = state.images_seen, state.rollbacks + 1
        if rank() == 0:
            good = _newest_good(run_dir, request.good_until, log)
            if good is None:
                raise AlarmError(
                    f"{request.why}: the run cannot be rolled back, because no intact checkpoint of at most "
                    f"{request.good_until:,} images is left; start a new run in another --out, with another "
                    "recipe"
                )
            restore(state, good, self.recipe, self.spectra)
            state.tick_due = False
            # A best value of the abandoned tick has no checkpoint.
            state.best, state.is_best, state.best_before = state.best_before or state.best, False, None
            apply_rollbacks(state, self.recipe, count)
            with writing(run_dir, "alarms.jsonl"):
                run_dir.append_alarm(
                    {
                        "images": left_at,
                        "rollback": count,
                        "rollbacks": count - 1,
                        "back_to": good.images_seen,
                    }
                )
            self.writer.save(state, at_tick=True)
            with writing(run_dir, "the files that a rollback changes"):
                for path in checkpoint.in_folder(run_dir.checkpoints):
                    if int(path.stem) > good.images_seen:
                        path.unlink()
                run_dir.rewind_log(good.images_seen, count)
        broadcast_state(state, self.recipe, self.spectra)
        state.step.nonfinite_guard.reset()
        factor = self.recipe.alarms.rate_factor**count
        rates = "" if factor == 1 else f", and learning rates are multiplied by {factor:g}"
        log(
            f"Rollback {count} of at most {self.recipe.alarms.max_rollbacks}: from {left_at:,} back to "
            f"{state.images_seen:,} images. All random numbers from there are new{rates}."
        )


def _newest_good(
    run_dir: RunDir, good_until: int, log: Callable[[str], None]
) -> checkpoint.Checkpoint | None:
    """The newest intact checkpoint of a tick with at most `good_until` images."""
    run = identity_of(run_dir)
    for path in checkpoints_of_ticks(run_dir):
        if int(path.stem) <= good_until:
            try:
                return checkpoint.load(path, run)
            except CheckpointError as error:
                log(f"{capitalized(error)}: the one before it is used.")
    return None
