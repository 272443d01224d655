"""A training run, begun or gone on with: what does not fit is refused, the rest is the trainer's."""

import math
import platform
import signal
from collections.abc import Callable, Iterator
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
from kennel.errors import RecipeError, RunError
from kennel.features.opening import choose
from kennel.features.pixel_cells import PixelCells
from kennel.recipe import Recipe, Validation, difference
from kennel.run_folder import RunFolder
from kennel.sampler import draw_latents
from kennel.trainer import Plan, Trainer
from kennel.watch import Watch
from kennel.wiring.building import build_step, resolve, sampling_generator
from kennel.wiring.events import EventWriter
from kennel.wiring.keeping import Keeper
from kennel.wiring.overseeing import Overseer
from kennel.wiring.rolling_back import run_with_rollbacks, tidy
from kennel.wiring.validating import Validator, with_metric_names

TAKEN = (
    "budget.",
    "validation.metric:",
    "validation.also:",
    "validation.patience:",
    "validation.every_ticks:",
    "alarms.",
)
"""Keys that may change when a run goes on. The extractor and the count may not: they decide what a value
means, and a curve of two kinds of values would tell of an improvement or a fall that never was."""


def train(
    recipe: Recipe,
    data: Path,
    out: Path,
    *,
    device: torch.device | None = None,
    weights: Path | None = None,
    watch: Watch | None = None,
) -> bool:
    """Begins the run in `out`, or goes on with the one that is there; True when it is over.

    It is over when its budget is spent, or when the validation's metric has not improved for as many
    validations as the recipe's patience.

    The same recipe on the same data continues bit for bit where its newest whole checkpoint stands.
    Another recipe or other data in the same folder is refused with the difference; only a changed budget
    and what changes the measuring alone (`TAKEN`) are taken. `weights` is a file for the validation's
    extractor. Ctrl-C and SIGTERM leave a checkpoint and return False.
    """
    watch = watch or Watch()
    # Vanishing gradients become denormal numbers, on which a CPU computes several times slower. Set before
    # any parallel work, since threads take the mode over from the one that starts them.
    torch.set_flush_denormal(True)
    packed = PackedSet(data)
    folder = RunFolder(out)
    recipe = resolve(recipe, packed)
    recipe = _with_validation(recipe, with_metric_names(recipe.validation))
    recipe = _with_extractor(recipe, folder, weights)
    total = recipe.budget.in_images(len(packed))
    if recipe.batch > total:
        raise RecipeError(
            f"a batch of {recipe.batch:,} is more than the whole budget of {total:,} images: give a smaller "
            "--set batch=..., or a larger --images"
        )
    device = device or torch.device("cpu")
    step = build_step(recipe, device)  # refuses what does not fit before anything is written
    validator = Validator.for_recipe(recipe, packed, sampling_generator(step), weights, watch.say)
    _begin_or_match(folder, recipe, packed, watch.say)

    round_images = recipe.batch * recipe.turns.discriminator
    tick_images = max(round_images, math.ceil(total / recipe.ticks))
    plan = Plan(recipe.batch, recipe.turns, total, tick_images, recipe.seed, device)
    keeper = Keeper(folder, recipe, step, validator, plan)
    overseer = keeper.overseer = Overseer(folder, recipe, step, plan, watch.say)
    with _asked_to_stop(watch.say) as asked_to_stop, EventWriter(folder.tensorboard, watch.say) as events:
        trainer = Trainer(
            step,
            Stream(packed, recipe.batch, recipe.seed, device),
            lambda count, random: draw_latents(recipe.latent, count, random),
            plan,
            at_tick=(
                overseer.look,
                keeper.validate,
                keeper.draw_grid,
                keeper.write_log,
                lambda entry, progress: events.write(entry, overseer.newest_spectra),
                lambda entry, progress: watch.at_tick(entry),
                overseer.act,
                lambda entry, progress: tidy(folder, recipe),
                lambda entry, progress: keeper.save(progress),
            ),
            at_round=overseer.watched(lambda images_seen: watch.at_round(images_seen, total)),
            at_stop=keeper.stop,
            should_stop=lambda: keeper.has_run_out or asked_to_stop(),
        )
        keeper.trainer = overseer.trainer = trainer
        keeper.resume(watch.say)
        if trainer.progress.images_seen == 0:
            keeper.draw_first_grid()
        went_on_from = trainer.progress.images_seen
        if run_with_rollbacks(keeper, events, watch.say):
            return True
        if keeper.has_run_out:
            watch.say(keeper.why_it_ends(went_on_from))
        return keeper.has_run_out


def _with_validation(recipe: Recipe, validation: Validation) -> Recipe:
    return recipe.model_copy(update={"validation": validation})


def _with_extractor(recipe: Recipe, folder: RunFolder, weights: Path | None) -> Recipe:
    """The validation's extractor, decided once: what "auto" finds at first judges the run to its end.

    By plain pixels it is judged with FID: MiFID's epsilon was chosen for Inception's features, and would
    punish real images there.
    """
    wanted = recipe.validation
    if wanted.extractor != "auto":
        return recipe
    name = folder.recipe().validation.extractor if folder.exists() else choose(weights)
    metric = "fid" if name == PixelCells.name and wanted.metric == "mifid" else wanted.metric
    also = tuple(one for one in wanted.also if one != metric)
    found = {"extractor": name, "metric": metric, "also": also}
    return _with_validation(recipe, wanted.model_copy(update=found))


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
    refused = [change for change in changes if not change.startswith(TAKEN)]
    if refused:
        raise RecipeError(
            f"the run in {folder.path} was begun with another recipe ({'; '.join(refused)}): "
            "give the same settings to go on with it, or another --out to begin anew"
        )
    budget = [change for change in changes if change.startswith("budget.")]
    measured = [change for change in changes if change.startswith("validation.")]
    watched = [change for change in changes if change.startswith("alarms.")]
    if budget:
        seen = max((int(path.stem) for path in checkpoint.in_folder(folder.checkpoints)), default=0)
        if recipe.budget.in_images(len(packed)) < seen:
            raise RunError(
                f"the run in {folder.path} has seen {seen:,} images already: give a budget of no fewer, or "
                "another --out"
            )
        say(f"The budget changed: {'; '.join(budget)}. Schedules over the run stretch with it.")
    if measured:
        anew = "" if there.validation.metric == recipe.validation.metric else " The best is sought anew."
        say(f"Validation changed: {'; '.join(measured)}. The training itself is the same.{anew}")
    if watched:
        say(f"The alarms changed: {'; '.join(watched)}.")
    if changes:
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
