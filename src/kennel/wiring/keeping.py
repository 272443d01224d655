"""What a run writes at a tick, and how it finds back to it: validation, grid, log, checkpoints."""

from collections.abc import Callable, Sequence

import kennel
from kennel import checkpoint
from kennel.errors import CheckpointError
from kennel.pictures import save_png, tile
from kennel.recipe import Recipe
from kennel.run_folder import RunFolder
from kennel.sampler import Samples, a_row_a_class
from kennel.step import Step
from kennel.trainer import Plan, Progress, Trainer
from kennel.watch import VALIDATIONS_SINCE_BEST, Entry
from kennel.wiring.best import Best
from kennel.wiring.building import sampling_generator
from kennel.wiring.overseeing import Overseer
from kennel.wiring.provenance import grid_text
from kennel.wiring.rolling_back import how_many_to_keep
from kennel.wiring.validating import Validator

GRID_SEEDS = range(64)
GRID_CLASSES = 16
"""Rows of a conditional run's grid, which has one for each class."""


class Keeper:
    """What is written at a tick, and how a run finds back to it."""

    trainer: Trainer
    overseer: Overseer

    def __init__(
        self, folder: RunFolder, recipe: Recipe, step: Step, validator: Validator | None, plan: Plan
    ) -> None:
        """`trainer` and `overseer` are set when they are built: the trainer's callbacks are this one's."""
        self.folder = folder
        self.recipe = recipe
        self.step = step
        self.validator = validator
        self.plan = plan
        self.best = Best(recipe.validation.metric)
        self.is_best = False

    @property
    def has_run_out(self) -> bool:
        """Whether the deciding metric has not improved for as long as the recipe waits."""
        return self.best.has_run_out(self.recipe.validation.patience)

    def resume(self, say: Callable[[str], None]) -> None:
        """Goes back to the newest whole checkpoint, where there is one."""

        def damaged(error: CheckpointError) -> None:
            say(f"{str(error)[0].upper()}{str(error)[1:]}: the one before it is taken.")

        found = checkpoint.newest(self.folder.checkpoints, damaged)
        rollbacks = int(found.about.get("rollbacks", 0)) if found else 0
        self.folder.rewind_log(found.images_seen if found else 0, rollbacks)
        if found is None:
            return
        self.restore(found)
        self.trainer.progress.seconds = float(found.about["seconds"])
        self.best.restore(found.about, self.folder.log())
        if not self.has_run_out:
            say(f"Going on from {found.images_seen:,} images.")

    def restore(self, found: checkpoint.Checkpoint) -> None:
        """The networks and all that trains and watches them, as they were there."""
        checkpoint.restore(found, self.step, self.trainer.tally)
        self.trainer.progress.images_seen = found.images_seen
        self.overseer.restore(found.about, found.below("spectra"))

    def validate(self, entry: Entry, progress: Progress) -> None:
        """Measures the generator that is sampled from, at every so-manieth tick and at the end."""
        self.is_best = False
        tick = progress.images_seen // self.plan.tick_images
        last = progress.images_seen >= self.plan.total_images
        every = self.recipe.validation.every_ticks
        if self.validator is None or not (tick % every == 0 or last):
            return
        values = self.validator.values(sampling_generator(self.step), progress.images_seen)
        entry.update(values)
        self.is_best = self.best.add(progress.images_seen, values[self.best.metric])
        entry[VALIDATIONS_SINCE_BEST] = self.best.since

    def draw_grid(self, entry: Entry, progress: Progress) -> None:
        """Samples of fixed latents, as a picture named by the images seen."""
        seeds, labels, columns = _grid(self.recipe.classes or 0)
        generator, sampling = sampling_generator(self.step), self.recipe.sampling
        samples = Samples(generator, self.recipe.latent, seeds, labels=labels, sampling=sampling)
        save_png(
            self.folder.samples / f"{progress.images_seen:012d}.png",
            tile(samples.pixels(), columns),
            grid_text(self.folder.fingerprint(), progress.images_seen, seeds),
        )

    def draw_first_grid(self) -> None:
        """What the untrained generator draws."""
        self.draw_grid({}, Progress())

    def write_log(self, entry: Entry, progress: Progress) -> None:
        """The tick's line."""
        self.folder.append_log(entry)

    def stop(self, progress: Progress) -> None:
        """A checkpoint of a run that stops between ticks; one that ends early has that of its last tick."""
        if not self.has_run_out:
            self.save(progress)

    def why_it_ends(self, went_on_from: int) -> str:
        """The sentence of a run that ends before its budget, at once or after it went on."""
        if self.trainer.progress.images_seen > went_on_from:
            return f"{self.best.words()}: stopping."
        return (
            f"The run has stopped early: {self.best.words()}. To go on, give a larger "
            "--set validation.patience=..., or null for none."
        )

    def save(self, progress: Progress) -> None:
        """A checkpoint, also as the best where it is; older ones go."""
        tensors = checkpoint.collect(self.step, self.trainer.tally) | self.overseer.tensors()
        about = {
            "images_seen": progress.images_seen,
            "seconds": progress.seconds,
            **self.best.about(),
            **self.overseer.about(),
            "recipe": self.recipe.fingerprint(),
            "kennel": kennel.__version__,
        }
        if self.is_best:
            checkpoint.save(self.folder.best_checkpoint, tensors, about)
            self.is_best = False
        checkpoint.save(self.folder.checkpoints / checkpoint.name_for(progress.images_seen), tensors, about)
        checkpoint.keep_newest(self.folder.checkpoints, how_many_to_keep(self.folder, self.recipe))


def _grid(classes: int) -> tuple[Sequence[int], Sequence[int] | None, int]:
    """(seeds, labels, columns) of a run's grids: a row for each class, as far as they go on one page."""
    if classes == 0:
        return GRID_SEEDS, None, 8
    seeds, labels = a_row_a_class(range(8), min(classes, GRID_CLASSES))
    return seeds, labels, 8
