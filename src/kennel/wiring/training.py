"""A training run, begun or gone on with: grids, log, validation, checkpoints as the trainer's callbacks."""

import math
import platform
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch

import kennel
from kennel import checkpoint
from kennel.atomic import write_text
from kennel.data.packed import PackedSet
from kennel.data.stream import Stream
from kennel.errors import CheckpointError, RecipeError, RunError
from kennel.features.opening import choose
from kennel.features.pixel_cells import PixelCells
from kennel.pictures import save_png, tile
from kennel.recipe import Recipe, difference
from kennel.run_folder import RunFolder
from kennel.sampler import Samples, a_row_a_class, draw_latents
from kennel.step import Step
from kennel.trainer import Plan, Progress, Trainer
from kennel.watch import Entry, Watch
from kennel.wiring.building import build_step, resolve, sampling_generator
from kennel.wiring.events import EventWriter
from kennel.wiring.provenance import grid_text
from kennel.wiring.validating import Validator

GRID_SEEDS = range(64)
GRID_CLASSES = 16
"""Rows of a conditional run's grid, which has one for each class."""


def train(
    recipe: Recipe,
    data: Path,
    out: Path,
    *,
    device: torch.device | None = None,
    weights: Path | None = None,
    watch: Watch | None = None,
) -> bool:
    """Begins the run in `out`, or goes on with the one that is there; True when its budget is spent.

    The same recipe on the same data continues bit for bit where its newest whole checkpoint stands.
    Another recipe or other data in the same folder is refused with the difference; only a changed budget
    is taken. `weights` is a file for the validation's extractor. Ctrl-C and SIGTERM leave a checkpoint and
    return False.
    """
    watch = watch or Watch()
    # Vanishing gradients become denormal numbers, on which a CPU computes several times slower. Set before
    # any parallel work, since threads take the mode over from the one that starts them.
    torch.set_flush_denormal(True)
    packed = PackedSet(data)
    folder = RunFolder(out)
    recipe = _with_extractor(resolve(recipe, packed), folder, weights)
    total = recipe.budget.in_images(len(packed))
    if recipe.batch > total:
        raise RecipeError(
            f"a batch of {recipe.batch:,} is more than the whole budget of {total:,} images: give a smaller "
            "--set batch=..., or a larger --images"
        )
    device = device or torch.device("cpu")
    step = build_step(recipe, device)  # refuses what does not fit before anything is written
    validator = Validator.for_recipe(recipe, packed, device, weights, watch.say)
    _begin_or_match(folder, recipe, packed, watch.say)

    round_images = recipe.batch * recipe.turns.discriminator
    tick_images = max(round_images, math.ceil(total / recipe.ticks))
    plan = Plan(recipe.batch, recipe.turns, total, tick_images, recipe.seed, device)
    keeper = _Keeper(folder, recipe, step, validator, plan)
    with _asked_to_stop(watch.say) as should_stop, EventWriter(folder.tensorboard, watch.say) as events:
        trainer = Trainer(
            step,
            Stream(packed, recipe.batch, recipe.seed, device),
            lambda count, random: draw_latents(recipe.latent, count, random),
            plan,
            at_tick=(
                keeper.validate,
                keeper.draw_grid,
                keeper.write_log,
                lambda entry, progress: events.write(entry),
                lambda entry, progress: watch.at_tick(entry),
                lambda entry, progress: keeper.save(progress),
            ),
            at_round=lambda images_seen: watch.at_round(images_seen, total),
            at_stop=keeper.save,
            should_stop=should_stop,
        )
        keeper.trainer = trainer
        keeper.resume(watch.say)
        if trainer.progress.images_seen == 0:
            keeper.draw_first_grid()
        return trainer.run()


def _with_extractor(recipe: Recipe, folder: RunFolder, weights: Path | None) -> Recipe:
    """The validation's extractor, decided once: what "auto" finds at first judges the run to its end.

    By plain pixels it is judged with FID: MiFID's epsilon was chosen for Inception's features, and would
    punish real images there.
    """
    wanted = recipe.validation
    if wanted.extractor != "auto":
        return recipe
    name = folder.recipe().validation.extractor if folder.exists() else choose(weights)
    found = {"extractor": name, "metric": "fid" if name == PixelCells.name else wanted.metric}
    return recipe.model_copy(update={"validation": wanted.model_copy(update=found)})


def _begin_or_match(folder: RunFolder, recipe: Recipe, packed: PackedSet, say: Callable[[str], None]) -> None:
    if not folder.exists():
        folder.begin(recipe, _about(packed))
        return
    there, about = folder.recipe(), folder.about()
    if about["data"]["fingerprint"] != packed.fingerprint:
        raise RunError(
            f"the run in {folder.path} was trained on {about['data']['path']} (fingerprint "
            f"{about['data']['fingerprint'][:8]}), not on {packed.name} ({packed.fingerprint[:8]}): "
            "give that set, or another --out"
        )
    changes = difference(there, recipe)
    refused = [change for change in changes if not change.startswith("budget.")]
    if refused:
        raise RecipeError(
            f"the run in {folder.path} was begun with another recipe ({'; '.join(refused)}): "
            "give the same settings to go on with it, or another --out to begin anew"
        )
    if changes:
        seen = max((int(path.stem) for path in checkpoint.in_folder(folder.checkpoints)), default=0)
        if recipe.budget.in_images(len(packed)) < seen:
            raise RunError(
                f"the run in {folder.path} has seen {seen:,} images already: give a budget of no fewer, or "
                "another --out"
            )
        say(f"The budget changed: {'; '.join(changes)}. Schedules over the run stretch with it.")
        write_text(folder.recipe_file, recipe.to_yaml())


def _about(packed: PackedSet) -> dict[str, Any]:
    return {
        "data": {
            "path": str(packed.path.resolve()),
            "fingerprint": packed.fingerprint,
            "count": len(packed),
            "shape": list(packed.shape),
            "classes": list(packed.classes),
        },
        "versions": {
            "kennel": kennel.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }


class _Keeper:
    """What is written at a tick, and how a run finds back to it."""

    trainer: Trainer

    def __init__(
        self, folder: RunFolder, recipe: Recipe, step: Step, validator: Validator | None, plan: Plan
    ) -> None:
        self.folder = folder
        self.recipe = recipe
        self.step = step
        self.validator = validator
        self.plan = plan
        self.best: float | None = None
        self.is_best = False

    def resume(self, say: Callable[[str], None]) -> None:
        def damaged(error: CheckpointError) -> None:
            say(f"{str(error)[0].upper()}{str(error)[1:]}: the one before it is taken.")

        found = checkpoint.newest(self.folder.checkpoints, damaged)
        self.folder.rewind_log(found.images_seen if found else 0)
        if found is None:
            return
        checkpoint.restore(found, self.step, self.trainer.tally)
        self.trainer.progress.images_seen = found.images_seen
        self.trainer.progress.seconds = float(found.about["seconds"])
        self.best = found.about["best"]
        say(f"Going on from {found.images_seen:,} images.")

    def validate(self, entry: Entry, progress: Progress) -> None:
        self.is_best = False
        tick = progress.images_seen // self.plan.tick_images
        last = progress.images_seen >= self.plan.total_images
        every = self.recipe.validation.every_ticks
        if self.validator is None or not (tick % every == 0 or last):
            return
        values = self.validator.values(sampling_generator(self.step), progress.images_seen)
        entry.update(values)
        value = values[self.recipe.validation.metric]
        self.is_best = self.best is None or value < self.best
        if self.is_best:
            self.best = value

    def draw_grid(self, entry: Entry, progress: Progress) -> None:
        seeds, labels, columns = _grid(self.recipe.classes or 0)
        generator, sampling = sampling_generator(self.step), self.recipe.sampling
        samples = Samples(generator, self.recipe.latent, seeds, labels=labels, sampling=sampling)
        save_png(
            self.folder.samples / f"{progress.images_seen:012d}.png",
            tile(samples.pixels(), columns),
            grid_text(self.folder.fingerprint(), progress.images_seen, seeds),
        )

    def draw_first_grid(self) -> None:
        self.draw_grid({}, Progress())

    def write_log(self, entry: Entry, progress: Progress) -> None:
        self.folder.append_log(entry)

    def save(self, progress: Progress) -> None:
        tensors = checkpoint.collect(self.step, self.trainer.tally)
        about = {
            "images_seen": progress.images_seen,
            "seconds": progress.seconds,
            "best": self.best,
            "recipe": self.recipe.fingerprint(),
            "kennel": kennel.__version__,
        }
        if self.is_best:
            checkpoint.save(self.folder.best_checkpoint, tensors, about)
            self.is_best = False
        checkpoint.save(self.folder.checkpoints / checkpoint.name_for(progress.images_seen), tensors, about)
        checkpoint.keep_newest(self.folder.checkpoints, self.recipe.keep_checkpoints)


def _grid(classes: int) -> tuple[Sequence[int], Sequence[int] | None, int]:
    """(seeds, labels, columns) of a run's grids: a row for each class, as far as they go on one page."""
    if classes == 0:
        return GRID_SEEDS, None, 8
    seeds, labels = a_row_a_class(range(8), min(classes, GRID_CLASSES))
    return seeds, labels, 8


@contextmanager
def _asked_to_stop(say: Callable[[str], None]) -> Iterator[Callable[[], bool]]:
    """Ctrl-C and SIGTERM become a flag that the loop reads between rounds; a second Ctrl-C is immediate."""
    asked = False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked = True
        say("Stopping after this round, with a checkpoint (Ctrl-C again to stop at once, without).")

    signals = (signal.SIGINT, signal.SIGTERM)
    try:
        before = {number: signal.signal(number, note) for number in signals}
    except ValueError:  # not the main thread: whoever runs us there keeps the signals
        yield lambda: False
        return
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
