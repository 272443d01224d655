"""The checkpoints of a run: when one is written, what it holds, and how many are kept."""

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
from kennel.training.fork import origin_in_words
from kennel.training.restore import spectra_tensors


class CheckpointWriter(Callback):
    """Writes a checkpoint at every tick and where the run stops, also as the best where it is."""

    def __init__(self, run_dir: RunDir, recipe: Recipe, spectra: Spectra) -> None:
        """`spectra` are followed over the run, and their state is part of a checkpoint."""
        self.run_dir = run_dir
        self.recipe = recipe
        self.spectra = spectra
        self.retention = CheckpointRetention(run_dir, recipe)

    def on_train_begin(self, state: TrainState) -> None:
        """A first checkpoint, where an alarm of the first ticks would lead back to."""
        if state.images_seen == 0 and state.rollbacks == 0 and rolls_back(self.recipe):
            self.save(state, at_tick=True)

    def on_tick(self, state: TrainState, entry: Entry) -> None:
        """The checkpoint of a tick."""
        self.save(state, at_tick=True)
        self.retention.remove_those_between_ticks()

    def on_train_end(self, state: TrainState) -> None:
        """A checkpoint of a run that stops between ticks; one that ends early has that of its last tick."""
        if not state.finished and not state.best.should_stop_early(self.recipe.validation.patience):
            at_tick = state.images_seen == state.checkpointed_tick and not state.tick_due
            self.save(state, at_tick=at_tick)

    def save(self, state: TrainState, *, at_tick: bool) -> None:
        """Writes one, and removes those that are not kept."""
        tensors = checkpoint.collect(state.step, state.running_means) | spectra_tensors(self.spectra)
        metadata = {
            "images_seen": state.images_seen,
            "seconds": state.seconds,
            "tick_due": state.tick_due,
            "at_tick": at_tick,
            "stays": at_tick and self.retention.stays(state),
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
            self.retention.prune()
        state.best_before = None
        if at_tick:
            state.checkpointed_tick = state.images_seen

    @cached_property
    def _run(self) -> str:
        """The run's identity, by which its checkpoints are known."""
        return identity_of(self.run_dir)

    @cached_property
    def _origin(self) -> dict[str, Any]:
        """The run that this one began with, and what taught it."""
        return origin_in_words(self.run_dir.about())


class CheckpointRetention:
    """How many checkpoints of a run are kept, and which."""

    def __init__(self, run_dir: RunDir, recipe: Recipe) -> None:
        """The recipe says how many."""
        self.run_dir = run_dir
        self.recipe = recipe

    def stays(self, state: TrainState) -> bool:
        """Whether this tick's checkpoint stays for good. It says so itself: a budget may change later."""
        every, tick = self.recipe.keep_every_ticks, state.tick
        return every > 0 and tick > 0 and tick % every == 0

    def prune(self) -> None:
        """Removes the older ones."""
        checkpoint.prune(self.run_dir.checkpoints, self._count())

    def remove_those_between_ticks(self) -> None:
        """Removes what stops between ticks have left: a rollback finds what it would without."""
        if rolls_back(self.recipe):
            folder = self.run_dir.checkpoints
            for path in set(checkpoint.in_folder(folder)) - set(checkpoints_of_ticks(self.run_dir)):
                path.unlink()

    def _count(self) -> int:
        """With rollbacks, as far back as an alarm's first signs can lie."""
        if not rolls_back(self.recipe):
            return kept_ticks(self.recipe)
        there = checkpoint.in_folder(self.run_dir.checkpoints)
        return kept_ticks(self.recipe) + len(there) - len(checkpoints_of_ticks(self.run_dir))


def checkpoints_of_ticks(run_dir: RunDir) -> list[Path]:
    """Newest first; a stop between two ticks leaves one that a run without the stop would not have."""
    return [path for path in checkpoint.in_folder(run_dir.checkpoints) if checkpoint.at_tick(path)]


def kept_ticks(recipe: Recipe) -> int:
    """How many checkpoints of ticks are kept."""
    wanted = recipe.keep_checkpoints
    return max(wanted, recipe.alarms.max_lag + 1) if rolls_back(recipe) else wanted


def rolls_back(recipe: Recipe) -> bool:
    """Whether an alarm may take the run back."""
    return recipe.alarms.policy == "rollback" and recipe.alarms.max_rollbacks > 0
