"""A run is taken back to a checkpoint from before an alarm's signs, and draws new random numbers."""

from collections.abc import Callable

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
from kennel.training.restore import apply_rollbacks, restore
from kennel.training.tensorboard import EventWriter


class Rollback:
    """Takes a run back, where an alarm asks for it."""

    def __init__(
        self, run_dir: RunDir, recipe: Recipe, spectra: Spectra, writer: CheckpointWriter, events: EventWriter
    ) -> None:
        """`writer` writes the run's checkpoints, `events` its TensorBoard events."""
        self.run_dir = run_dir
        self.recipe = recipe
        self.spectra = spectra
        self.writer = writer
        self.events = events

    def run(self, trainer: Trainer, log: Callable[[str], None]) -> bool:
        """`Trainer.run`, continued after every rollback."""
        while True:
            try:
                return trainer.run()
            except RollbackRequested as request:
                self._go_back(trainer, request, log)
                if rank() == 0:
                    with writing(self.run_dir, "a TensorBoard event"):
                        self.events.rewind(trainer.state.images_seen)

    def _go_back(self, trainer: Trainer, request: RollbackRequested, log: Callable[[str], None]) -> None:
        """First the good checkpoint is written again with the new count, then those after it are removed.

        A run that is killed between the two finds a checkpoint of the branch that was left, comes to the same
        alarm again, and goes back to the same place with the same count.
        """
        state, run_dir = trainer.state, self.run_dir
        left_at, count = state.images_seen, state.rollbacks + 1
        if rank() == 0:
            good = _newest_good(run_dir, request.good_until, log)
            if good is None:
                raise AlarmError(
                    f"{request.why}: the run cannot be rolled back, for no whole checkpoint of at most "
                    f"{request.good_until:,} images is left; begin again in another --out, with another "
                    "recipe"
                )
            restore(state, good, self.recipe, self.spectra)
            state.tick_due = False
            # What was the best at the tick that is left is none, and has no checkpoint.
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
            with writing(run_dir, "what a rollback changes"):
                for path in checkpoint.in_folder(run_dir.checkpoints):
                    if int(path.stem) > good.images_seen:
                        path.unlink()
                run_dir.rewind_log(good.images_seen, count)
        broadcast_state(state, self.recipe, self.spectra)
        state.step.nonfinite_guard.reset()
        factor = self.recipe.alarms.rate_factor**count
        rates = "" if factor == 1 else f", and learning rates are {factor:g} of theirs"
        log(
            f"Rollback {count} of at most {self.recipe.alarms.max_rollbacks}: from {left_at:,} back to "
            f"{state.images_seen:,} images. Every draw from there has a new key{rates}."
        )


def _newest_good(
    run_dir: RunDir, good_until: int, log: Callable[[str], None]
) -> checkpoint.Checkpoint | None:
    """Of this run's checkpoints that were written at ticks, the newest that is old enough and whole."""
    run = identity_of(run_dir)
    for path in checkpoints_of_ticks(run_dir):
        if int(path.stem) <= good_until:
            try:
                return checkpoint.load(path, run)
            except CheckpointError as error:
                log(f"{str(error)[0].upper()}{str(error)[1:]}: the one before it is taken.")
    return None
