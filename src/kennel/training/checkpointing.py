"""Writes a run's checkpoints and removes old ones."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from kennel.config.recipe import Recipe
from kennel.engine.callback import Callback
from kennel.engine.observer import Entry
from kennel.engine.singular_values import Spectra
from kennel.engine.state import TrainState
from kennel.runs import checkpoint
from kennel.runs.identity import identity_of
from kennel.runs.run_dir import RunDir
from kennel.storage.safetensors_io import bytes_of
from kennel.training.disk_errors import writing
from kennel.training.fork import origin_metadata
from kennel.training.restore import spectra_tensors


@dataclass(eq=False)
class CheckpointWriter(Callback):
    """Writes a checkpoint at every tick and where the run stops, and a copy if it is the best."""

    run_dir: RunDir
    recipe: Recipe
    spectra: Spectra

    def on_train_begin(self, state: TrainState) -> None:
        """Writes a first checkpoint for a rollback from the first ticks."""
        if state.images_seen == 0 and state.rollbacks == 0 and rolls_back(self.recipe):
            self.save(state, at_tick=True)

    def on_tick(self, state: TrainState, entry: Entry) -> None:
        """Writes the tick's checkpoint.

        With rollbacks it removes those of stops between ticks, so that a rollback does not depend on stops.
        """
        self.save(state, at_tick=True)
        if rolls_back(self.recipe):
            all_paths = checkpoint.in_folder(self.run_dir.checkpoints)
            for path in set(all_paths) - set(checkpoints_of_ticks(self.run_dir)):
                path.unlink()

    def on_train_end(self, state: TrainState) -> None:
        """Writes a checkpoint of a run that stops between ticks."""
        if not state.finished and not state.best.should_stop_early(self.recipe.validation.patience):
            at_tick = state.images_seen == state.checkpointed_tick and not state.tick_due
            self.save(state, at_tick=at_tick)

    def save(self, state: TrainState, *, at_tick: bool) -> None:
        """Writes a checkpoint and removes those that are no longer kept."""
        tensors = checkpoint.collect(state.step, state.running_means) | spectra_tensors(self.spectra)
        metadata = {
            "images_seen": state.images_seen,
            "seconds": state.seconds,
            "tick_due": state.tick_due,
            "at_tick": at_tick,
            "stays": at_tick and self._stays(state),
            **state.best.about(),
            "rollbacks": state.rollbacks,
            "recipe": self.recipe.fingerprint(),
            "run": self._run,
            **self._origin,
        }
        with writing(self.run_dir, "a checkpoint", bytes_of(tensors)):
            if state.is_best:
                checkpoint.save(self.run_dir.best_checkpoint, tensors, metadata)
                state.is_best = False
            numbered = self.run_dir.checkpoints / checkpoint.name_for(state.images_seen)
            checkpoint.save(numbered, tensors, metadata)
            checkpoint.prune(self.run_dir.checkpoints, self._count())
        state.best_before = None
        if at_tick:
            state.checkpointed_tick = state.images_seen

    @cached_property
    def _run(self) -> str:
        return identity_of(self.run_dir)

    @cached_property
    def _origin(self) -> dict[str, Any]:
        return origin_metadata(self.run_dir.about())

    def _stays(self, state: TrainState) -> bool:
        """Whether this tick's checkpoint is kept permanently; saved with it, since the budget may change."""
        every, tick = self.recipe.keep_every_ticks, state.tick
        return every > 0 and tick > 0 and tick % every == 0

    def _count(self) -> int:
        """How many checkpoints to keep; with rollbacks those between ticks count in addition."""
        if not rolls_back(self.recipe):
            return kept_ticks(self.recipe)
        existing = checkpoint.in_folder(self.run_dir.checkpoints)
        return kept_ticks(self.recipe) + len(existing) - len(checkpoints_of_ticks(self.run_dir))


def checkpoints_of_ticks(run_dir: RunDir) -> list[Path]:
    """The checkpoints that were written at ticks, newest first."""
    return [path for path in checkpoint.in_folder(run_dir.checkpoints) if checkpoint.at_tick(path)]


def kept_ticks(recipe: Recipe) -> int:
    """How many checkpoints of ticks are kept; with rollbacks as many as an alarm's signs can last."""
    count = recipe.keep_checkpoints
    return max(count, recipe.alarms.max_lag + 1) if rolls_back(recipe) else count


def rolls_back(recipe: Recipe) -> bool:
    """Whether an alarm may roll the run back."""
    return recipe.alarms.policy == "rollback" and recipe.alarms.max_rollbacks > 0
