"""What a run writes at a tick, and how it finds back to it: validation, grid, log, checkpoints."""

from collections.abc import Callable, Sequence
from copy import copy
from functools import cached_property
from typing import Any

from kennel import cancellation
from kennel.config.recipe import Recipe
from kennel.engine.builder import sampling_generator
from kennel.engine.observer import VALIDATIONS_SINCE_BEST, Entry
from kennel.engine.step import GANStep
from kennel.engine.trainer import Progress, Trainer, TrainPlan
from kennel.errors import CheckpointError, CheckpointFormatError
from kennel.images import save_png, tile
from kennel.runs import checkpoint
from kennel.runs.identity import identity_of
from kennel.runs.run_dir import RunDir
from kennel.sampling.png_metadata import grid_text
from kennel.sampling.sampler import Samples, a_row_a_class
from kennel.storage.atomic_io import remove_partial_files
from kennel.storage.safetensors_io import bytes_of
from kennel.training.alarm_callback import AlarmMonitor
from kennel.training.best_metric import BestMetric
from kennel.training.disk_errors import writing
from kennel.training.fork import origin_in_words
from kennel.training.rollback import how_many_to_keep
from kennel.training.tensorboard import EventWriter
from kennel.training.validation import Validator

GRID_SEEDS = range(64)
GRID_CLASSES = 16
"""Rows of a conditional run's grid, which has one for each class."""


class Keeper:
    """What is written at a tick, and how a run finds back to it."""

    trainer: Trainer
    alarm_monitor: AlarmMonitor

    def __init__(
        self, folder: RunDir, recipe: Recipe, step: GANStep, validator: Validator | None, plan: TrainPlan
    ) -> None:
        """`trainer` and `overseer` are set when they are built, since the trainer's callbacks are this one's,
        and `asked_to_stop` where there are signals to hear: a validation is given up by it."""
        self.folder = folder
        self.recipe = recipe
        self.step = step
        self.validator = validator
        self.plan = plan
        self.asked_to_stop: Callable[[], bool] = lambda: False
        self.best = BestMetric(recipe.validation.metric)
        self.is_best = False
        self._best_before: BestMetric | None = None
        """How the best stood before a tick whose checkpoint is not written yet."""
        self._tick_at = -1
        """The images of the newest checkpoint that was written at a tick."""

    @property
    def has_run_out(self) -> bool:
        """Whether the deciding metric has not improved for as long as the recipe waits."""
        return self.best.should_stop_early(self.recipe.validation.patience)

    def resume(self, say: Callable[[str], None]) -> None:
        """Goes back to the newest whole checkpoint, where there is one.

        What a killed process left half-written goes; a damaged checkpoint is set aside, and it is said.
        """

        spoilt: list[CheckpointError] = []

        def damaged(error: CheckpointError) -> None:
            spoilt.append(error)

        for place in (self.folder.path, self.folder.checkpoints, self.folder.samples):
            remove_partial_files(place)
        found = self._newest(damaged, say)
        for path in checkpoint.in_folder(self.folder.checkpoints):
            if found is not None and int(path.stem) > found.images_seen:
                checkpoint.quarantine(path)
        for error in spoilt:
            aside = "it is set aside, and the one before it" if found is not None else "the one before it"
            say(f"{_capital(error)}: {aside} is taken.")
        rollbacks = int(found.metadata.get("rollbacks", 0)) if found else 0
        # A tick that is due again, after its validation was given up, writes its lines again.
        due = found is not None and bool(found.metadata.get("tick_due", False))
        self.folder.rewind_log(found.images_seen - due if found else 0, rollbacks)
        if found is None:
            return
        progress = self.trainer.progress
        self.restore(found)
        try:
            progress.seconds = float(found.metadata["seconds"])
            progress.tick_due = found.metadata["tick_due"]
            self.best.restore(found.metadata)
            self._tick_at = progress.images_seen if found.metadata.get("at_tick", True) else -1
        except KeyError as missing:
            raise CheckpointError(
                f"the checkpoint {found.path} says nothing of its {missing.args[0]}, which kennel's own do: "
                "take it away, and the one before it is taken"
            ) from None
        if progress.images_seen and not self.has_run_out:
            say(f"Going on from {progress.images_seen:,} images.")
        self._check_best(say)

    def _newest(
        self, damaged: Callable[[CheckpointError], None], say: Callable[[str], None]
    ) -> checkpoint.Checkpoint | None:
        """The newest whole checkpoint, and where none of the numbered ones is, the best; None for a new run.

        Raises `CheckpointError` where there were some and none is left: beginning anew would cut the log.
        """
        folder, reason = self.folder, None
        try:
            if found := checkpoint.newest(folder.checkpoints, damaged, self.run):
                return found
        except CheckpointFormatError:
            raise
        except CheckpointError as error:
            reason = error
        # A first tick that was killed between its line and its checkpoint is no loss.
        if reason is None and len(folder.log()) < 2:
            return None
        try:
            best = checkpoint.load(folder.best_checkpoint, self.run)
        except CheckpointFormatError:
            raise
        except CheckpointError:
            raise reason or CheckpointError(
                f"the run in {folder.path} has a log and no checkpoint: bring one back from a copy, or begin "
                "anew with another --out"
            ) from None
        say(f"No numbered checkpoint is left: the best, of {best.images_seen:,} images, is taken.")
        return best

    def _check_best(self, say: Callable[[str], None]) -> None:
        """A damaged best is told of, and made again where the checkpoint that it came from is still kept."""
        path = self.folder.best_checkpoint
        if not path.exists():
            return
        try:
            checkpoint.load(path, self.run)
        except CheckpointFormatError:
            return
        except CheckpointError as error:
            try:
                same = checkpoint.load(path.with_name(checkpoint.name_for(self.best.images_seen)), self.run)
            except CheckpointError:
                same = None
            # At that count a rollback may have left another one, which knows of another best, or of none.
            now = {**self.best.about(), VALIDATIONS_SINCE_BEST: 0}
            if (
                same is None
                or self.best.value is None
                or any(same.metadata.get(key) != now[key] for key in now)
            ):
                say(f"{_capital(error)}: the run goes on, and the next best takes its place.")
                return
            checkpoint.save(path, same.tensors, same.metadata)
            say(f"{_capital(error)}: it was made again from {same.path.name}.")

    def restore(self, found: checkpoint.Checkpoint) -> None:
        """The networks and all that trains and watches them, as they were there."""
        checkpoint.restore(found, self.step, self.trainer.running_means)
        self.trainer.progress.images_seen = found.images_seen
        self.alarm_monitor.restore(found.metadata, found.below("spectra"))

    def validate(self, entry: Entry, progress: Progress) -> None:
        """Measures the generator that is sampled from, at every so-manieth tick and at the end."""
        self.is_best, self._best_before = False, None
        if self.validator is None or not self._is_validated(progress) or self._is_spoilt():
            return
        with cancellation.cancel_when(self.asked_to_stop):
            values = self.validator.values(sampling_generator(self.step), progress.images_seen)
        entry.update(values)
        self._best_before = copy(self.best)
        self.is_best = self.best.add(progress.images_seen, values[self.best.metric])
        entry[VALIDATIONS_SINCE_BEST] = self.best.since

    def assist(self, entry: Entry, progress: Progress) -> None:
        """What the other ranks do at a tick: their share of the validation."""
        if self.validator is not None and self._is_validated(progress) and not self._is_spoilt():
            self.validator.assist(sampling_generator(self.step), progress.images_seen)

    def _is_spoilt(self) -> bool:
        """Whether weights are not finite: nothing can be drawn, and the overseer's look, which follows, ends
        the run or takes it back. Every rank has the same weights, and so the same answer."""
        return any(not bool(one.isfinite().all()) for one in self.step.networks.generator.parameters())

    def _is_validated(self, progress: Progress) -> bool:
        tick = progress.images_seen // self.plan.tick_images
        last = progress.images_seen >= self.plan.total_images
        return tick % self.recipe.validation.every_ticks == 0 or last

    def draw_grid(self, entry: Entry, progress: Progress) -> None:
        """Samples of fixed latents, as a picture named by the images seen."""
        seeds, labels, columns = grid_of(self.recipe.num_classes or 0)
        generator, sampling = sampling_generator(self.step), self.recipe.sampling
        samples = Samples(generator, self.recipe.latent, seeds, labels=labels, sampling=sampling)
        picture = tile(samples.pixels(), columns)
        with writing(self.folder, "the grid of samples", picture.nbytes):
            save_png(
                self.folder.samples / f"{progress.images_seen:012d}.png",
                picture,
                grid_text(self._fingerprint, progress.images_seen, seeds, self._origin.get("teacher")),
            )

    @cached_property
    def run(self) -> str:
        """The run's identity, by which its checkpoints are known."""
        return identity_of(self.folder)

    @cached_property
    def _origin(self) -> dict[str, Any]:
        """What checkpoints say of the run that this one began with, and of what taught it."""
        return origin_in_words(self.folder.about())

    @cached_property
    def _fingerprint(self) -> str:
        """The run's, read once: its recipe and its data stay what they are while it trains."""
        return self.folder.fingerprint()

    def draw_first_grid(self) -> None:
        """What the untrained generator draws."""
        self.draw_grid({}, Progress())

    def write_log(self, entry: Entry, progress: Progress) -> None:
        """The tick's line."""
        with writing(self.folder, "log.jsonl"):
            self.folder.append_log(entry)

    def write_events(self, events: EventWriter, entry: Entry) -> None:
        """The tick's TensorBoard events."""
        with writing(self.folder, "a TensorBoard event"):
            events.write(entry, self.alarm_monitor.newest_spectra)

    def stop(self, progress: Progress) -> None:
        """A checkpoint of a run that stops between ticks; one that ends early has that of its last tick."""
        if not self.has_run_out:
            at_tick = progress.images_seen == self._tick_at and not progress.tick_due
            self.save(progress, at_tick=at_tick)

    def leave_tick(self) -> None:
        """A rollback leaves the tick that it comes from: what was its best is none, and has no checkpoint."""
        if self._best_before is not None:
            self.best = self._best_before
        self.is_best, self._best_before = False, None

    def why_it_ends(self, went_on_from: int) -> str:
        """The sentence of a run that ends before its budget, at once or after it went on."""
        if self.trainer.progress.images_seen > went_on_from:
            return f"{self.best.words()}: stopping."
        return (
            f"The run has stopped early: {self.best.words()}. To go on, give a larger "
            "--set validation.patience=..., or null for none."
        )

    def save(self, progress: Progress, *, at_tick: bool) -> None:
        """A checkpoint, also as the best where it is; older ones go."""
        tensors = checkpoint.collect(self.step, self.trainer.running_means) | self.alarm_monitor.tensors()
        about = {
            "images_seen": progress.images_seen,
            "seconds": progress.seconds,
            "tick_due": progress.tick_due,
            "at_tick": at_tick,
            "stays": at_tick and self._stays(progress),
            **self.best.about(),
            **self.alarm_monitor.about(),
            "recipe": self.recipe.fingerprint(),
            "run": self.run,
            **self._origin,
        }
        with writing(self.folder, "a checkpoint", bytes_of(tensors)):
            if self.is_best:
                checkpoint.save(self.folder.best_checkpoint, tensors, about)
                self.is_best = False
            numbered = self.folder.checkpoints / checkpoint.name_for(progress.images_seen)
            checkpoint.save(numbered, tensors, about)
            checkpoint.prune(self.folder.checkpoints, how_many_to_keep(self.folder, self.recipe))
        self._best_before = None
        if at_tick:
            self._tick_at = progress.images_seen

    def _stays(self, progress: Progress) -> bool:
        """Whether a tick's checkpoint stays for good. It says so itself, since a budget may change later."""
        every, tick = self.recipe.keep_every_ticks, progress.images_seen // self.plan.tick_images
        return every > 0 and tick > 0 and tick % every == 0


def _capital(error: Exception) -> str:
    return f"{str(error)[0].upper()}{str(error)[1:]}"


def grid_of(classes: int) -> tuple[Sequence[int], Sequence[int] | None, int]:
    """(seeds, labels, columns) of a run's grids: a row for each class, as far as they go on one page."""
    if classes == 0:
        return GRID_SEEDS, None, 8
    seeds, labels = a_row_a_class(range(8), min(classes, GRID_CLASSES))
    return seeds, labels, 8
