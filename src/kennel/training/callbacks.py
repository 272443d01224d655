"""What a run does at a tick besides its alarms and checkpoints: validation, grids, log, events, progress.

`default_callbacks` in `training.run` lists all of them in their order.
"""

from collections.abc import Callable, Sequence
from copy import copy
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
from kennel.training.fork import origin_in_words
from kennel.training.rank_sync import RankSync
from kennel.training.tensorboard import EventWriter
from kennel.training.validation import Validator

GRID_SEEDS = range(64)
GRID_CLASSES = 16
"""Rows of a conditional run's grid, which has one for each class."""


class Validation(Callback):
    """Measures the generator that is sampled from, on every n-th tick and at the end.

    Rank 0 computes the scores; the others do their share of the feature extraction.
    """

    on_all_ranks = True

    def __init__(
        self, validator: Validator, every_ticks: int, rank: int, asked_to_stop: Callable[[], bool]
    ) -> None:
        """A validation is cancelled where `asked_to_stop` turns true in it, and the tick stays due."""
        self.validator = validator
        self.every_ticks = every_ticks
        self.rank = rank
        self.asked_to_stop = asked_to_stop

    def on_tick(self, state: TrainState, entry: Entry) -> None:
        """Adds the scores to the tick's entry, and counts whether they are the best."""
        state.is_best, state.best_before = False, None
        if not (state.tick % self.every_ticks == 0 or state.is_over) or _weights_are_spoilt(state):
            return
        generator = sampling_generator(state.step)
        if self.rank:
            self.validator.assist(generator, state.images_seen)
            return
        with cancellation.cancel_when(self.asked_to_stop):
            values = self.validator.values(generator, state.images_seen)
        entry.update(values)
        state.best_before = copy(state.best)
        state.is_best = state.best.add(state.images_seen, values[state.best.metric])
        entry[VALIDATIONS_SINCE_BEST] = state.best.since


def _weights_are_spoilt(state: TrainState) -> bool:
    """Whether weights are not finite: nothing can be drawn, and the alarm monitor acts on it.

    All ranks have the same weights, and so the same answer.
    """
    return any(not bool(one.isfinite().all()) for one in state.step.networks.generator.parameters())


class RefuseDrift(Callback):
    """Ends the run where ranks hold different weights, before anything of the tick is written."""

    on_all_ranks = True

    def __init__(self, rank_sync: RankSync) -> None:
        """`rank_sync` is that of the run."""
        self.rank_sync = rank_sync

    def on_tick(self, state: TrainState, entry: Entry) -> None:
        """Compares the weights of all ranks."""
        self.rank_sync.refuse_drift(state)


class WaitForScores(Callback):
    """All ranks wait for the scores of rank 0: what comes next are sums over all ranks."""

    on_all_ranks = True

    def __init__(self, rank_sync: RankSync) -> None:
        """`rank_sync` is that of the run."""
        self.rank_sync = rank_sync

    def on_tick(self, state: TrainState, entry: Entry) -> None:
        """Waits."""
        self.rank_sync.wait()


class WaitForFiles(Callback):
    """All ranks wait for what rank 0 writes at a tick."""

    on_all_ranks = True

    def __init__(self, rank_sync: RankSync) -> None:
        """`rank_sync` is that of the run."""
        self.rank_sync = rank_sync

    def on_tick(self, state: TrainState, entry: Entry) -> None:
        """Waits; whether all go on is asked before the next iteration."""
        self.rank_sync.wait()
        self.rank_sync.ask_at_once()


class SampleGrid(Callback):
    """Samples of fixed latents, as a picture named by the images seen."""

    def __init__(self, run_dir: RunDir, recipe: Recipe) -> None:
        """The grids go to the run's samples."""
        self.run_dir = run_dir
        self.recipe = recipe

    def on_train_begin(self, state: TrainState) -> None:
        """What the untrained generator draws."""
        if state.images_seen == 0 and state.rollbacks == 0:
            self.on_tick(state, {})

    def on_tick(self, state: TrainState, entry: Entry) -> None:
        """What the generator draws now."""
        seeds, labels, columns = grid_of(self.recipe.num_classes or 0)
        generator, sampling = sampling_generator(state.step), self.recipe.sampling
        samples = Samples(generator, self.recipe.latent, seeds, labels=labels, sampling=sampling)
        picture = tile(samples.pixels(), columns)
        text = grid_text(self._fingerprint, state.images_seen, seeds, self._teacher)
        with writing(self.run_dir, "the grid of samples", picture.nbytes):
            save_png(self.run_dir.samples / f"{state.images_seen:012d}.png", picture, text)

    @cached_property
    def _fingerprint(self) -> str:
        """The run's, read once: its recipe and its data stay what they are while it trains."""
        return self.run_dir.fingerprint()

    @cached_property
    def _teacher(self) -> str | None:
        """The pretrained network that teaches the run, read once."""
        return origin_in_words(self.run_dir.about()).get("teacher")


class LogWriter(Callback):
    """The tick's line in log.jsonl."""

    def __init__(self, run_dir: RunDir) -> None:
        """The log is that of the run."""
        self.run_dir = run_dir

    def on_tick(self, state: TrainState, entry: Entry) -> None:
        """Appends the line."""
        with writing(self.run_dir, "log.jsonl"):
            self.run_dir.append_log(entry)


class TensorBoardWriter(Callback):
    """The tick's numbers and singular values as TensorBoard events."""

    def __init__(self, run_dir: RunDir, events: EventWriter, alarm_monitor: AlarmMonitor) -> None:
        """`alarm_monitor` has measured the singular values before."""
        self.run_dir = run_dir
        self.events = events
        self.alarm_monitor = alarm_monitor

    def on_tick(self, state: TrainState, entry: Entry) -> None:
        """Writes the events."""
        with writing(self.run_dir, "a TensorBoard event"):
            self.events.write(entry, self.alarm_monitor.newest_spectra)


class ProgressReport(Callback):
    """Tells the observer of each iteration and each tick."""

    def __init__(self, observer: TrainObserver) -> None:
        """`observer` draws a progress bar, or listens to nothing."""
        self.observer = observer

    def on_iteration_end(self, state: TrainState) -> None:
        """How many images were seen, of how many."""
        self.observer.on_iteration(state.images_seen, state.plan.total_images)

    def on_tick(self, state: TrainState, entry: Entry) -> None:
        """The tick's line of the log."""
        self.observer.on_tick(entry)


def grid_of(classes: int) -> tuple[Sequence[int], Sequence[int] | None, int]:
    """(seeds, labels, columns) of a run's grids: a row for each class, as far as they go on one page."""
    if classes == 0:
        return GRID_SEEDS, None, 8
    seeds, labels = class_grid(range(8), min(classes, GRID_CLASSES))
    return seeds, labels, 8
