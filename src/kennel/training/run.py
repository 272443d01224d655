"""`train`: checks the recipe and the set, builds all parts and runs the training."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from kennel.config.recipe import Recipe
from kennel.data.dataset import ImageDataset
from kennel.data.loader import BatchLoader
from kennel.data.set_checks import shortage
from kennel.distributed import all_gather_ints, rank, shard_slice, world_size
from kennel.engine.best_metric import BestMetric
from kennel.engine.builder import build_step, sampling_generator
from kennel.engine.callback import Callback
from kennel.engine.compute_defaults import configure_process
from kennel.engine.latents import draw_latents
from kennel.engine.observer import TrainObserver
from kennel.engine.state import TrainState
from kennel.engine.step import GANStep
from kennel.engine.trainer import Trainer
from kennel.evaluation.metrics.base import METRICS
from kennel.reporting.format import figure
from kennel.runs.pretrained_teacher import teacher_of_run
from kennel.runs.run_dir import RunDir
from kennel.storage.lock import locked
from kennel.training import rank_sync
from kennel.training.alarm_callback import AlarmMonitor, AlarmPolicy
from kennel.training.callbacks import (
    LogWriter,
    ProgressReport,
    RefuseDrift,
    SampleGrid,
    TensorBoardWriter,
    Validation,
    WaitForFiles,
    WaitForScores,
)
from kennel.training.checkpointing import CheckpointWriter
from kennel.training.disk_errors import writing
from kennel.training.fork import begin_fork, check_parent
from kennel.training.instances import InstanceTable, fill_instances, instance_table, with_instances
from kennel.training.oom import explain_failures
from kennel.training.rank_sync import RankSync, broadcast_state
from kennel.training.report_page import ReportPage
from kennel.training.resolve_recipe import begin_or_match, make_plan, resolve_recipe, run_metadata
from kennel.training.resume import resume
from kennel.training.rollback import Rollback
from kennel.training.signals import stop_on_signals
from kennel.training.tensorboard import EventWriter
from kennel.training.validation import Validator


def train(
    recipe: Recipe,
    data: Path,
    out: Path,
    *,
    device: torch.device | None = None,
    weights: Path | None = None,
    observer: TrainObserver | None = None,
    resident_bytes: int | None = None,
    parent: Path | None = None,
    callbacks: Sequence[Callback] = (),
) -> bool:
    """Starts the run in `out` or continues the one there. Returns True when it is over.

    It is over when its budget is spent, or when as many validations as the recipe's patience brought no
    improvement.

    The same recipe on the same data continues from the newest intact checkpoint, on a CPU bit for bit. A
    changed recipe or other data is refused with the difference, except for `RESUMABLE_KEYS`. Ctrl-C, SIGTERM
    and SIGHUP write a checkpoint and return False, also during a validation, which is then repeated; so does
    a callback that sets `state.stop_requested`. A second process in the same folder is refused. In
    `ranks_together` all ranks share the run and return the same value; only rank 0 reports to `observer` and
    writes to `out`.

    `weights` is a file for the validation's extractor. A set of at most `resident_bytes` (None: a share of
    the free memory) is kept on the device, a larger one is streamed, with the same result. With `parent`,
    another run's folder, a new run starts with that run's weights. `callbacks` are called after each
    iteration and at each tick, before its log line is written.
    """
    observer = TrainObserver() if observer is None or rank() else observer
    configure_process()
    dataset = ImageDataset(data)
    rank_sync.refuse_different(dataset)
    run_dir = RunDir(out)
    device = device or torch.device("cpu")
    recipe = rank_sync.recipe_of_rank_0(
        partial(resolve_recipe, recipe, dataset, run_dir, weights, device, observer.log, parent=parent)
    )
    rank_sync.refuse_uneven(recipe.batch_size)
    step = build_step(recipe, device, observer.log)  # raises its errors before anything is written
    table = instance_table(recipe, dataset, device, observer.log)
    if table is not None:
        fill_instances(step, table)  # a checkpoint, if there is one, has the same
    teacher = None if rank() else teacher_of_run(recipe, run_dir, parent)  # only rank 0 reads `out`
    validator = Validator.for_recipe(
        recipe, dataset, sampling_generator(step), weights, observer.log, teacher=teacher
    )
    metadata = run_metadata(dataset, teacher)
    parts = _Parts(
        recipe, dataset, run_dir, step, validator, device, observer, resident_bytes, table, callbacks
    )
    if rank():
        return _train(parts, metadata)
    if parent is not None:
        if run_dir.exists():
            check_parent(run_dir, parent)
        else:
            begin_fork(run_dir, parent, recipe, metadata, step, observer.log)
    elif not run_dir.exists():
        run_dir.refuse_other_content()
    with locked(out, "trained", observer.log):
        return _train(parts, metadata)


@dataclass(frozen=True)
class _Parts:
    """The parts of a run, after all checks."""

    recipe: Recipe
    dataset: ImageDataset
    run_dir: RunDir
    step: GANStep
    validator: Validator | None
    device: torch.device
    observer: TrainObserver
    resident_bytes: int | None
    instances: InstanceTable | None
    callbacks: Sequence[Callback]


def _train(parts: _Parts, metadata: Mapping[str, Any]) -> bool:
    """Trains in a folder that no other process writes to."""
    recipe, run_dir, observer = parts.recipe, parts.run_dir, parts.observer
    if rank() == 0:
        with writing(run_dir, "the recipe"):
            begin_or_match(run_dir, recipe, parts.dataset, metadata, observer.log)
    rows = shard_slice(recipe.batch_size)
    with (
        explain_failures(recipe, parts.device, " in another --out"),
        stop_on_signals(observer) as stop_requested,
        EventWriter(run_dir.tensorboard, observer.log) as events,
        BatchLoader(
            parts.dataset,
            recipe.batch_size,
            recipe.seed,
            parts.device,
            parts.resident_bytes,
            rows=rows,
            balanced=recipe.balance_classes,
        ) as loader,
    ):
        observer.log(loader.about)
        if short := shortage(parts.dataset):
            observer.log(f"Note: {parts.dataset.name}: {short}.")
        return _run(parts, loader, events, stop_requested)


def _run(parts: _Parts, loader: BatchLoader, events: EventWriter, stop_requested: Callable[[], bool]) -> bool:
    recipe, run_dir, step, log = parts.recipe, parts.run_dir, parts.step, parts.observer.log
    plan = make_plan(recipe, recipe.budget.in_images(len(parts.dataset)), parts.device)
    state = TrainState(
        step,
        plan,
        with_instances(loader, parts.instances, recipe.seed),
        partial(draw_latents, recipe.latent),
        BestMetric(recipe.validation.metric),
    )

    def ends_early() -> bool:
        return state.best.should_stop_early(recipe.validation.patience)

    def should_stop() -> bool:
        return state.stop_requested or ends_early() or stop_requested()

    rank_sync = RankSync(step.networks, should_stop, log)
    alarm_monitor = AlarmMonitor(run_dir, recipe, step, log)
    writer = CheckpointWriter(run_dir, recipe, alarm_monitor.spectra)
    callbacks = default_callbacks(parts, rank_sync, alarm_monitor, writer, events, stop_requested)
    trainer = Trainer(state, callbacks, rank_sync.should_stop)
    if rank() == 0:
        with writing(run_dir, "the files that a resume changes"):
            resume(state, run_dir, recipe, alarm_monitor.spectra, log)
            events.rewind(state.images_seen - state.tick_due)
    broadcast_state(state, recipe, alarm_monitor.spectra)
    resumed_at = state.images_seen
    if Rollback(run_dir, recipe, alarm_monitor.spectra, writer, events).run(trainer, log):
        return True
    if ends_early():
        log(_early_stop_message(state, resumed_at))
    return bool(all_gather_ints(ends_early())[0][0])


def default_callbacks(
    parts: _Parts,
    rank_sync: RankSync,
    alarm_monitor: AlarmMonitor,
    writer: CheckpointWriter,
    events: EventWriter,
    stop_requested: Callable[[], bool],
) -> list[Callback]:
    """This rank's callbacks in their order.

    The validation can be cancelled, so it comes before everything that writes. Alarms come before the
    checkpoint, which would not be a good one; the user's callbacks come before the log is written.
    """
    run_dir, recipe = parts.run_dir, parts.recipe
    callbacks: list[Callback] = [RefuseDrift(rank_sync)]
    if parts.validator is not None:
        # With several ranks a validation is not cancelled, because they compute it together.
        should_stop = stop_requested if world_size() == 1 else lambda: False
        callbacks.append(Validation(parts.validator, recipe.validation.every_ticks, rank(), should_stop))
    callbacks += [
        WaitForScores(rank_sync),
        alarm_monitor,
        *parts.callbacks,
        SampleGrid(run_dir, recipe),
        LogWriter(run_dir),
        TensorBoardWriter(run_dir, events, alarm_monitor),
        ProgressReport(parts.observer),
        AlarmPolicy(run_dir, recipe, alarm_monitor),
        writer,
        ReportPage(run_dir, parts.observer.log),
        WaitForFiles(rank_sync),
    ]
    return [one for one in callbacks if rank() == 0 or one.on_all_ranks]


def _early_stop_message(state: TrainState, resumed_at: int) -> str:
    best = state.best
    validations = f"{best.since} validation{'' if best.since == 1 else 's'}"
    status = (
        f"{METRICS[best.metric].label} has not improved for {validations} "
        f"(best {figure(best.value)} at {best.images_seen:,} images)"
    )
    if state.images_seen > resumed_at:
        return f"{status}: stopping."
    return (
        f"The run has stopped early: {status}. To continue, give a larger --set validation.patience=..., "
        "or null for no limit."
    )
