"""A training run, begun or gone on with: what does not fit is refused, the rest is the trainer's."""

import math
import platform
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

import kennel
from kennel.config.recipe import Recipe, difference
from kennel.data.dataset import ImageDataset
from kennel.data.loader import BatchLoader
from kennel.data.set_checks import shortage
from kennel.distributed import all_gather_ints, rank, shard_slice, world_size
from kennel.engine.builder import build_step, refuse_unregistered, resolve, sampling_generator
from kennel.engine.compute_defaults import configure_process, refuse_graphs_elsewhere, with_compute_defaults
from kennel.engine.latents import draw_latents
from kennel.engine.observer import TrainObserver
from kennel.engine.precision import BOUND, precision_for
from kennel.engine.step import GANStep
from kennel.engine.trainer import Trainer, TrainPlan
from kennel.errors import RecipeError, RunError
from kennel.runs import checkpoint
from kennel.runs.identity import RESUMABLE_KEYS
from kennel.runs.run_dir import RunDir
from kennel.runs.teacher import taught_by, with_extractor
from kennel.storage.atomic_io import write_text
from kennel.storage.lock import locked
from kennel.training import rank_sync
from kennel.training.alarm_callback import AlarmMonitor
from kennel.training.callbacks import Keeper
from kennel.training.disk_errors import writing
from kennel.training.fork import begin_fork, check_parent
from kennel.training.instances import InstanceTable, fill_instances, instance_table, with_instances
from kennel.training.oom import failures_told
from kennel.training.rollback import run_with_rollbacks, tidy
from kennel.training.signals import asked_to_stop
from kennel.training.tensorboard import EventWriter
from kennel.training.validation import Validator, with_metric_names


def train(
    recipe: Recipe,
    data: Path,
    out: Path,
    *,
    device: torch.device | None = None,
    weights: Path | None = None,
    watch: TrainObserver | None = None,
    resident_bytes: int | None = None,
    parent: Path | None = None,
) -> bool:
    """Begins the run in `out`, or goes on with the one that is there; True when it is over.

    It is over when its budget is spent, or when the validation's metric has not improved for as many
    validations as the recipe's patience.

    The same recipe on the same data continues where its newest whole checkpoint stands, on a CPU bit for bit.
    Another recipe or other data in the same folder is refused with the difference; only a changed budget
    and what changes the measuring alone (`TAKEN`) are taken. `weights` is a file for the validation's
    extractor. A set of at most `resident_bytes` (None: a share of what is free) is held on the device, a
    larger one streamed, with the same result. Ctrl-C, SIGTERM and SIGHUP leave a checkpoint and return False,
    also in the middle of a validation, which the run then does again. A second process on one folder is
    refused. In `ranks_together` all ranks share the run and return the same; rank 0 alone tells `watch` and
    touches `out`.

    With `parent`, another run's folder, a run that is not there yet begins with that one's weights.
    """
    watch = TrainObserver() if watch is None or rank() else watch
    configure_process()
    dataset = ImageDataset(data)
    rank_sync.refuse_different(dataset)
    folder = RunDir(out)
    device = device or torch.device("cpu")
    recipe = rank_sync.recipe_of_rank_0(
        partial(resolve_recipe, recipe, dataset, folder, weights, device, watch.log, parent=parent)
    )
    rank_sync.refuse_uneven(recipe.batch_size)
    step = build_step(recipe, device, watch.log)  # refuses what does not fit before anything is written
    table = instance_table(recipe, dataset, device, watch.log)
    if table is not None:
        fill_instances(step, table)  # a checkpoint, where there is one, has them too
    teacher = None if rank() else taught_by(recipe, folder, parent)  # rank 0 alone reads and writes `out`
    validator = Validator.for_recipe(
        recipe, dataset, sampling_generator(step), weights, watch.log, teacher=teacher
    )
    about = _about(dataset, teacher)
    if rank():
        return _train(recipe, dataset, folder, about, step, validator, device, watch, resident_bytes, table)
    if parent is not None:
        if folder.exists():
            check_parent(folder, parent)
        else:
            begin_fork(folder, parent, recipe, about, step, watch.log)
    elif not folder.exists():
        folder.refuse_other_content()
    with locked(out, "trained", watch.log):
        return _train(recipe, dataset, folder, about, step, validator, device, watch, resident_bytes, table)


def _train(
    recipe: Recipe,
    dataset: ImageDataset,
    folder: RunDir,
    about: Mapping[str, Any],
    step: GANStep,
    validator: Validator | None,
    device: torch.device,
    watch: TrainObserver,
    resident_bytes: int | None,
    table: InstanceTable | None,
) -> bool:
    """The run, in a folder that nobody else writes to."""
    total = recipe.budget.in_images(len(dataset))
    if rank() == 0:
        with writing(folder, "the recipe"):
            _begin_or_match(folder, recipe, dataset, about, watch.log)
    plan = make_plan(recipe, total, device)
    keeper = Keeper(folder, recipe, step, validator, plan)
    alarm_monitor = keeper.alarm_monitor = AlarmMonitor(folder, recipe, step, plan, watch.log)
    with (
        failures_told(recipe, device, " in another --out"),
        asked_to_stop(watch) as is_asked,
        EventWriter(folder.tensorboard, watch.log) as events,
        BatchLoader(
            dataset,
            recipe.batch_size,
            recipe.seed,
            device,
            resident_bytes,
            rows=shard_slice(recipe.batch_size),
        ) as stream,
    ):
        watch.log(stream.about)
        if short := shortage(dataset):
            watch.log(f"Note: {dataset.name}: {short}.")
        company = rank_sync.RankSync(step.networks, lambda: keeper.has_run_out or is_asked(), watch.log)
        trainer = Trainer(
            step,
            with_instances(stream, table, recipe.seed),
            lambda count, random: draw_latents(recipe.latent, count, random),
            plan,
            # What may be given up, a validation, comes before all that changes or writes something.
            at_tick=(
                company.before_tick,
                keeper.assist,
                company.after_validation,
                alarm_monitor.look,
                alarm_monitor.act,
                company.after_tick,
            )
            if rank()
            else (
                company.before_tick,
                keeper.validate,
                company.after_validation,
                alarm_monitor.look,
                keeper.draw_grid,
                keeper.write_log,
                lambda entry, progress: keeper.write_events(events, entry),
                lambda entry, progress: watch.on_tick(entry),
                alarm_monitor.act,
                lambda entry, progress: keeper.save(progress, at_tick=True),
                lambda entry, progress: tidy(folder, recipe),
                company.after_tick,
            ),
            at_round=alarm_monitor.watched(lambda images_seen: watch.on_iteration(images_seen, total)),
            at_stop=(lambda progress: None) if rank() else keeper.stop,
            should_stop=company.should_stop,
        )
        keeper.trainer = alarm_monitor.trainer = trainer
        if world_size() == 1:  # ranks that judge together do not give up one by one
            keeper.asked_to_stop = is_asked
        if rank() == 0:
            with writing(folder, "what a resume changes"):
                keeper.resume(watch.log)
                events.rewind(trainer.progress.images_seen - trainer.progress.tick_due)
        rank_sync.broadcast_state(trainer, alarm_monitor)
        if trainer.progress.images_seen == 0 and rank() == 0:
            keeper.draw_first_grid()
        went_on_from = trainer.progress.images_seen
        if run_with_rollbacks(keeper, events, watch.log):
            return True
        if keeper.has_run_out:
            watch.log(keeper.why_it_ends(went_on_from))
        return bool(all_gather_ints(keeper.has_run_out)[0][0])


def resolve_recipe(
    recipe: Recipe,
    dataset: ImageDataset,
    folder: RunDir,
    weights: Path | None,
    device: torch.device,
    say: Callable[[str], None] = lambda sentence: None,
    bound: float = BOUND,
    parent: Path | None = None,
) -> Recipe:
    """The recipe as a run in `folder` has it, all that the set and the machine decide filled in.

    The precision of a run that has begun is its own; of a new one it is measured, where that
    is left open, for about `bound` seconds. `parent` is the run whose weights a new one begins with.

    Raises `KennelError` where recipe and set do not fit; nothing is built or written.
    """
    if folder.exists():
        refuse_unregistered(folder.recipe(), f"the run in {folder.path}")
    recipe = resolve(recipe, dataset)
    recipe = recipe.model_copy(update={"validation": with_metric_names(recipe.validation)})
    recipe = with_extractor(recipe, folder, weights, taught_by(recipe, folder, parent), say)
    begun = folder.recipe() if folder.exists() else None
    refuse_graphs_elsewhere(recipe, device)
    total = recipe.budget.in_images(len(dataset))
    if recipe.batch_size > total:
        raise RecipeError(
            f"a batch of {recipe.batch_size:,} is more than the whole budget of {total:,} images: give a "
            "smaller --set batch_size=..., or a larger --images"
        )
    if begun is None and recipe.compute.precision == "auto":
        found = precision_for(recipe, make_plan(recipe, total, device), say, bound)
        recipe = recipe.model_copy(update={"compute": recipe.compute.model_copy(update={"precision": found})})
    return with_compute_defaults(recipe, device, begun)


def make_plan(recipe: Recipe, total: int, device: torch.device) -> TrainPlan:
    """How a budget of `total` images is divided into rounds and ticks."""
    round_images = recipe.batch_size * recipe.steps.discriminator
    tick_images = max(round_images, math.ceil(total / recipe.num_ticks))
    return TrainPlan(recipe.batch_size, recipe.steps, total, tick_images, recipe.seed, device)


def _begin_or_match(
    folder: RunDir,
    recipe: Recipe,
    dataset: ImageDataset,
    about: Mapping[str, Any],
    say: Callable[[str], None],
) -> None:
    if not folder.exists():
        dataset.refuse_other_pixels()
        folder.begin(recipe, about)
        return
    there, changes = folder.recipe(), changes_since(folder, recipe, dataset)
    budget = [change for change in changes if change.startswith("budget.")]
    measured = [change for change in changes if change.startswith("validation.")]
    if budget:
        say(f"The budget changed: {'; '.join(budget)}. Schedules over the run stretch with it.")
    if faster := [change for change in changes if change.startswith("compute.")]:
        say(f"Speed changed: {'; '.join(faster)}. From here on {_what_speed_changes(recipe)}.")
    if measured:
        anew = "" if there.validation.metric == recipe.validation.metric else " The best is sought anew."
        say(f"Validation changed: {'; '.join(measured)}. The training itself is the same.{anew}")
    if watched := [change for change in changes if change.startswith("alarms.")]:
        say(f"The alarms changed: {'; '.join(watched)}.")
    if kept := [change for change in changes if change.startswith("keep_")]:
        say(f"From the next checkpoint on another number of them is kept: {'; '.join(kept)}.")
    if changes:
        write_text(folder.recipe_file, recipe.to_yaml())


def _what_speed_changes(recipe: Recipe) -> str:
    drops = any(part.options.get("dropout") for part in (recipe.generator, recipe.discriminator))
    return "sums are rounded in another order" + (", and dropout may draw other masks" if drops else "")


def changes_since(folder: RunDir, recipe: Recipe, dataset: ImageDataset) -> list[str]:
    """What `recipe` changes of the run in `folder`, as lines of `difference`.

    Refused is what a run that goes on may not change: its data, and all but the keys of `TAKEN`.
    """
    there, about = folder.recipe(), folder.about()
    if about["data"]["fingerprint"] != dataset.fingerprint:
        raise RunError(
            f"the run in {folder.path} was trained on {about['data']['path']} (fingerprint "
            f"{about['data']['fingerprint'][:8]}), not on {dataset.name} ({dataset.fingerprint[:8]}): "
            "give that set, or another --out"
        )
    if known := about["data"].get("pixels"):
        dataset.refuse_changed(known)
    changes = difference(there, recipe)
    refused = [change for change in changes if not change.startswith(RESUMABLE_KEYS)]
    if refused:
        raise RecipeError(
            f"the run in {folder.path} was begun with another recipe ({'; '.join(refused)}): "
            "give the same settings to go on with it, --fork NEW with this --out to begin a new run in NEW "
            "from its weights, or another --out to begin anew"
        )
    if any(change.startswith("budget.") for change in changes):
        seen = max((int(path.stem) for path in checkpoint.in_folder(folder.checkpoints)), default=0)
        if recipe.budget.in_images(len(dataset)) < seen:
            raise RunError(
                f"the run in {folder.path} has seen {seen:,} images already: give a budget of no fewer, or "
                "another --out"
            )
    return changes


def _about(dataset: ImageDataset, teacher: str | None) -> dict[str, Any]:
    return {
        "teacher": teacher,
        "data": {
            "path": str(dataset.path.resolve()),
            "fingerprint": dataset.fingerprint,
            "count": len(dataset),
            "shape": list(dataset.shape),
            "classes": list(dataset.classes),
            "pixels": dataset.pixel_digest(),
        },
        "versions": {
            "kennel": kennel.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }
