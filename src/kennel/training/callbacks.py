"""Callbacks for validation, grids, the log, TensorBoard and progress.

`training.run.default_callbacks` lists them all in order, with those for alarms and checkpoints.
"""

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property

from kennel import cancellation
from kennel.config.recipe import Recipe
from kennel.engine.builder import sampling_generator
from kennel.engine.callback import Callback
from kennel.engine.observer import VALIDATIONS_SINCE_BEST, Entry, TrainObserver
from kennel.engine.state import TrainState
from kennel.images import save_png, tile
from kennel.runs.run_dir import RunDir
from kennel.sampling.png_metadata import grid_text
from kennel.sampling.sampler import Samples, class_grid
from kennel.training.alarm_callback import AlarmMonitor
from kennel.training.disk_errors import writing
from kennel.training.fork import origin_metadata
from kennel.training.rank_sync import RankSync
from kennel.training.tensorboard import EventWriter
from kennel.training.validation import Validator

GRID_SEEDS = range(64)
GRID_CLASSES = 16
"""Rows of a conditional run's grid, one per class."""


@dataclass(eq=False)
class Validation(Callback):
    """Measures the sampling generator at every n-th tick and at the end; `should_stop` cancels it.

    Rank 0 computes the scores; the other ranks do their share of the feature extraction.
    """

    on_all_ranks = True

    validator: Validator
    every_ticks: int
    rank: int
    should_stop: Callable[[], bool]

    def on_tick(self, state: TrainState, entry: Entry) -> None:
        """Adds the scores to the entry and updates the best metric."""
        state.is_best, state.best_before = False, None
        if not (state.tick % self.every_ticks == 0 or state.is_over) or _has_non_finite_weights(state):
            return
        generator = sampling_generator(state.step)
        if self.rank:
            self.validator.assist(generator, state.images_seen)
            return
        with cancellation.cancel_when(self.should_stop):
            values = self.validator.values(generator, state.images_seen)
        entry.update(values)
        state.best_before = copy(state.best)
        state.is_best = state.best.add(state.images_seen, values[state.best.metric])
        entry[VALIDATIONS_SINCE_BEST] = state.best.since


def _has_non_finite_weights(state: TrainState) -> bool:
    """Whether the generator cannot be sampled; the alarm monitor reports it. The same on all ranks."""
    return any(not bool(one.isfinite().all()) for one in state.step.networks.generator.parameters())


@dataclass(eq=False)
class RefuseDrift(Callback):
    """Ends the run if weights differ between ranks, before the tick writes anything."""

    on_all_ranks = True

    rank_sync: RankSync

    def on_tick(self, state: TrainState, entry: Entry) -> None:
        self.rank_sync.refuse_drift(state)


@dataclass(eq=False)
class WaitForScores(Callback):
    """All ranks wait for the scores of rank 0, before the next sums over all ranks."""

    on_all_ranks = True

    rank_sync: RankSync

    def on_tick(self, state: TrainState, entry: Entry) -> None:
        self.rank_sync.wait()


@dataclass(eq=False)
class WaitForFiles(Callback):
    """All ranks wait for the files that rank 0 writes at a tick, and check for a stop afterwards."""

    on_all_ranks = True

    rank_sync: RankSync

    def on_tick(self, state: TrainState, entry: Entry) -> None:
        self.rank_sync.wait()
        self.rank_sync.check_next_iteration()


@dataclass(eq=False)
class SampleGrid(Callback):
    """Writes samples of fixed latents as a grid, named by the images seen."""

    run_dir: RunDir
    recipe: Recipe

    def on_train_begin(self, state: TrainState) -> None:
        """Writes a grid of the untrained generator."""
        if state.images_seen == 0 and state.rollbacks == 0:
            self.on_tick(state, {})

    def on_tick(self, state: TrainState, entry: Entry) -> None:
        seeds, labels, columns = grid_of(self.recipe.num_classes or 0)
        generator, sampling = sampling_generator(state.step), self.recipe.sampling
        samples = Samples(generator, self.recipe.latent, seeds, labels=labels, sampling=sampling)
        grid = tile(samples.pixels(), columns)
        text = grid_text(self._fingerprint, state.images_seen, seeds, self._teacher)
        with writing(self.run_dir, "the grid of samples", grid.nbytes):
            save_png(self.run_dir.samples / f"{state.images_seen:012d}.png", grid, text)

    @cached_property
    def _fingerprint(self) -> str:
        return self.run_dir.fingerprint()

    @cached_property
    def _teacher(self) -> str | None:
        return origin_metadata(self.run_dir.about()).get("teacher")


@dataclass(eq=False)
class LogWriter(Callback):
    """Appends the tick's line to log.jsonl."""

    run_dir: RunDir

    def on_tick(self, state: TrainState, entry: Entry) -> None:
        with writing(self.run_dir, "log.jsonl"):
            self.run_dir.append_log(entry)


@dataclass(eq=False)
class TensorBoardWriter(Callback):
    """Writes the tick's numbers and singular values as TensorBoard events."""

    run_dir: RunDir
    events: EventWriter
    alarm_monitor: AlarmMonitor

    def on_tick(self, state: TrainState, entry: Entry) -> None:
        with writing(self.run_dir, "a TensorBoard event"):
            self.events.write(entry, self.alarm_monitor.newest_spectra)


@dataclass(eq=False)
class ProgressReport(Callback):
    """Reports each iteration and each tick to the observer."""

    observer: TrainObserver

    def on_iteration_end(self, state: TrainState) -> None:
        self.observer.on_iteration(state.images_seen, state.plan.total_images)

    def on_tick(self, state: TrainState, entry: Entry) -> None:
        self.observer.on_tick(entry)


def grid_of(classes: int) -> tuple[Sequence[int], Sequence[int] | None, int]:
    """(seeds, labels, columns) of a run's grid, with a row for each of the first `GRID_CLASSES` classes."""
    if classes == 0:
        return GRID_SEEDS, None, 8
    seeds, labels = class_grid(range(8), min(classes, GRID_CLASSES))
    return seeds, labels, 8
