"""Forecasts a run: parameters, operations, memory, disk, and a measured time."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from math import ceil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kennel.config.recipe import Recipe
from kennel.data.dataset import ImageDataset
from kennel.data.loader import BatchLoader
from kennel.data.memory_budget import free_bytes, memory_on
from kennel.engine.builder import build_step, sampling_generator
from kennel.engine.compute_defaults import configure_process, uncompiled, wait_for
from kennel.engine.iteration import iterate
from kennel.engine.op_counts import OperationCounter
from kennel.engine.state import TrainPlan, TrainState
from kennel.engine.step import GANStep
from kennel.errors import WeightsError
from kennel.features.classifier import Classifier
from kennel.networks.summary import parameter_count
from kennel.runs import checkpoint
from kennel.runs.pretrained_teacher import teacher_of_run
from kennel.runs.run_dir import RunDir
from kennel.training.checkpointing import kept_ticks, rolls_back
from kennel.training.disk_errors import free_disk
from kennel.training.oom import explain_failures
from kennel.training.resolve_recipe import changes_since, make_plan, resolve_recipe
from kennel.training.time_budget import untrained_state
from kennel.training.validation import Validator

BOUND = 20.0
"""The most seconds that a forecast takes, except for one operation in progress."""
TIMED = 5.0
"""Seconds after which no more iterations are timed."""


@dataclass(frozen=True)
class Forecast:
    """The result of `forecast`, in bytes, seconds and images; None could not be measured.

    An iteration is the discriminator's steps and the generator's, with `iteration_images` images.
    `operations` counts one in which all `lazy` terms (name: interval) are due. `state` is what stays between
    iterations: weights, gradients, moments of optimizers, averages. `peak` is the most bytes of all tensors
    during an iteration, state included; `resident` is the set on the device; `device_peak` is from CUDA's
    allocator. `timed` is the number of timed iterations, 0 if the time is that of the counted one. `stopped`
    is "time" or "memory" if no iteration was finished, else empty.
    """

    recipe: str
    data: str
    device: str
    precision: str
    batch: int
    set_size: int
    shape: tuple[int, int, int]
    parameters: Mapping[str, int]
    images_left: int
    images_seen: int
    iteration_images: int
    lazy: Mapping[str, int]
    ticks: int
    validations: int
    resident: int
    memory_free: int | None
    disk_free: int
    bound: float
    state: int = 0
    checkpoints: int = 0
    checkpoint_bytes: int = 0
    operations: int | None = None
    peak: int | None = None
    device_peak: int | None = None
    images_per_second: float | None = None
    timed: int = 0
    stopped: str = ""
    notes: tuple[str, ...] = ()

    @property
    def memory(self) -> int:
        """The most bytes in use; if no iteration was finished, those between iterations."""
        return max((self.peak or self.state) + self.resident, self.device_peak or 0)

    @property
    def disk(self) -> int:
        return self.checkpoints * self.checkpoint_bytes

    @property
    def training_seconds(self) -> float | None:
        return self.images_left / self.images_per_second if self.images_per_second else None

    def to_json(self) -> dict[str, Any]:
        """All fields and sums as plain values."""
        names = ("memory", "disk", "training_seconds")
        return asdict(self) | {name: getattr(self, name) for name in names}


def forecast(
    recipe: Recipe,
    data: Path,
    *,
    out: Path | None = None,
    device: torch.device | None = None,
    weights: Path | None = None,
    resident_bytes: int | None = None,
    seconds: float = BOUND,
    log: Callable[[str], None] = lambda status: None,
    clock: Callable[[], float] = time.perf_counter,
) -> Forecast:
    """What `train` with the same arguments needs; for an existing run in `out`, what is left of it.

    It ends after `seconds`, with what is known by then. It raises the errors of `train`, starts no run and
    downloads nothing. `log` gets the current activity.
    """
    deadline = clock() + seconds
    device = device or torch.device("cpu")
    with explain_failures(recipe, device, ""):
        configure_process()
        free = free_bytes(device) or None
        dataset, folder = ImageDataset(data), RunDir(data if out is None else out)
        recipe = resolve_recipe(recipe, dataset, folder, weights, device, bound=seconds / 4)
        seen = 0
        if folder.exists():
            changes_since(folder, recipe, dataset)
            seen = max((int(file.stem) for file in checkpoint.in_folder(folder.checkpoints)), default=0)
        elif out is not None:
            folder.refuse_other_content()
        step = build_step(uncompiled(recipe), device)
        plan = make_plan(recipe, recipe.budget.in_images(len(dataset)), device)
        known = _known(recipe, dataset, step, plan, out, seen)
        notes = _notes(recipe, dataset, step, weights, teacher_of_run(recipe, folder))
        room = memory_on(device) if resident_bytes is None else resident_bytes
        resident = dataset.images.nbytes if dataset.images.nbytes <= room else 0
        known = replace(known, memory_free=free, resident=resident, bound=seconds, notes=notes)
        log(f"running iterations for at most {seconds:g} s")
        with BatchLoader(
            dataset, recipe.batch_size, recipe.seed, device, resident_bytes, balanced=recipe.balance_classes
        ) as loader:
            state = untrained_state(recipe, step, loader, plan)
            return _measured(known, state, deadline, clock)


def _known(
    recipe: Recipe, dataset: ImageDataset, step: GANStep, plan: TrainPlan, out: Path | None, seen: int
) -> Forecast:
    """All that is known without running an iteration."""
    left = max(0, plan.total_images - seen)
    ticks, every = ceil(left / plan.tick_images), recipe.validation.every_ticks
    validations = ceil(ticks / every) if every else 0
    first = 1 if rolls_back(recipe) and not seen else 0  # before any tick
    newest = min(kept_ticks(recipe), ticks + first)
    staying = max(0, ticks - newest) // recipe.keep_every_ticks if recipe.keep_every_ticks else 0
    named: dict[str, nn.Module] = {
        "generator": step.networks.generator,
        "discriminator": step.networks.discriminator,
    }
    named |= {name: one.network for name, one in step.auxiliary_networks.items()}
    return Forecast(
        recipe=recipe.name,
        data=dataset.name,
        device=str(plan.device),
        precision=recipe.compute.precision,
        batch=recipe.batch_size,
        set_size=len(dataset),
        shape=dataset.shape,
        parameters={name: parameter_count(network) for name, network in named.items()},
        images_left=left,
        images_seen=seen,
        iteration_images=plan.batch_size * plan.steps.discriminator,
        lazy={name: term.interval for name, term in step.terms.items() if term.interval > 1},
        ticks=ticks,
        validations=validations,
        resident=0,
        memory_free=None,
        disk_free=free_disk(out or Path.cwd()),
        bound=0.0,
        # Plus the best, and one more while it is written.
        checkpoints=newest + staying + (1 if validations else 0) + 1,
    )


def _notes(
    recipe: Recipe, dataset: ImageDataset, step: GANStep, weights: Path | None, teacher: str | None
) -> tuple[str, ...]:
    """Notes for the user. Raises the errors of validation."""
    found, generator = [], sampling_generator(step)
    try:
        Validator.for_recipe(
            recipe, dataset, generator, weights, lambda sentence: None, download=False, teacher=teacher
        )
    except WeightsError as error:
        if weights is not None or recipe.validation.extractor == Classifier.name:
            raise
        found.append(f"Validation needs weights that train would download: {error}.")
    if len(dataset) < recipe.batch_size:
        found.append(
            f"The set has fewer images than a batch of {recipe.batch_size:,}: some are in each batch twice."
        )
    if recipe.compute.compile is not False:
        found.append("Iterations are timed without compiling, which takes about a minute when a run begins.")
    return tuple(found)


def _measured(known: Forecast, state: TrainState, deadline: float, clock: Callable[[], float]) -> Forecast:
    """Runs one iteration that is counted and then others that are timed, until the deadline."""
    step, device = state.step, state.plan.device
    room = None if known.memory_free is None else known.memory_free - known.resident

    def check(living: int) -> None:
        if clock() > deadline:
            raise _StoppedError("time")
        if room is not None and living > room:
            raise _StoppedError("memory")

    if room is None or 4 * _bytes(living_tensors(step)) <= room:  # gradients and two moments more
        _fill_optimizers(step)
    saved = sum(one.nbytes for one in checkpoint.collect(step, state.running_means).values())
    known = replace(known, state=_bytes(living_tensors(step)), checkpoint_bytes=saved)
    start = clock()
    try:
        counter = OperationCounter(living_tensors(step), check)
        with counter:
            iterate(state)
        wait_for(device)
    except _StoppedError as stopped:
        known = replace(known, stopped=str(stopped))
    else:
        first = clock() - start
        times = _times(state, deadline, clock, first)
        rate = known.iteration_images * max(1, len(times)) / (sum(times) or first)
        known = replace(
            known,
            operations=counter.flops,
            peak=counter.peak,
            timed=len(times),
            images_per_second=rate,
            device_peak=torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None,
        )
        if rare := [name for name, every in known.lazy.items() if every > len(times) > 0]:
            note = f"{', '.join(rare)} was due in none of the {len(times)} timed iterations: it takes longer."
            known = replace(known, notes=(*known.notes, note))
    return known


def _times(state: TrainState, deadline: float, clock: Callable[[], float], first: float) -> list[float]:
    """Seconds of iterations; each starts only if it would end before the deadline, so there may be none."""
    times: list[float] = []
    while sum(times) < TIMED and clock() + (max(times) if times else first) < deadline:
        start = clock()
        iterate(state)
        wait_for(state.plan.device)
        times.append(clock() - start)
    return times


class _StoppedError(Exception):
    """An unfinished iteration: out of "time" or "memory"."""


def living_tensors(step: GANStep) -> Iterator[Tensor]:
    """The tensors that a step keeps on its device between iterations."""
    networks = [*step.networks.both(), *(one.network for one in step.auxiliary_networks.values())]
    for technique in step.techniques:
        kept = technique.sampling_generator()
        networks += [] if kept is None else [kept]
        yield from technique.state_dict().values()
    for network in networks:
        for parameter in network.parameters():
            yield parameter
            if parameter.grad is not None:
                yield parameter.grad
        yield from network.buffers()
    for optimizer in _optimizers(step):
        yield from (
            one for state in optimizer.state.values() for one in state.values() if torch.is_tensor(one)
        )


def _optimizers(step: GANStep) -> list[torch.optim.Optimizer]:
    scheduled = (step.discriminator_optimizer, step.generator_optimizer, *step.auxiliary_optimizers.values())
    return [one.optimizer for one in scheduled]


def _fill_optimizers(step: GANStep) -> None:
    """Steps with gradients of 0, to allocate gradients and moments as after the first iteration."""
    for optimizer in _optimizers(step):
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = torch.zeros_like(parameter)
        optimizer.step()


def _bytes(tensors: Iterable[Tensor]) -> int:
    """Total bytes; shared memory counts once."""
    return sum({(one := tensor.untyped_storage())._cdata: one.nbytes() for tensor in tensors}.values())
