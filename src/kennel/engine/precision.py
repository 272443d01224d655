"""Which precision is faster here: what decides `compute.precision=auto`, measured once and remembered."""

import hashlib
import json
import math
import platform
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from kennel.config.alarms import AlarmsConfig
from kennel.config.recipe import Recipe, ValidationConfig
from kennel.config.steps import Budget
from kennel.distributed import single_process, world_size
from kennel.engine.builder import build_step, network_spec
from kennel.engine.compute_defaults import PRECISIONS, uncompiled, wait_for, with_compute_defaults
from kennel.engine.iteration import iterate
from kennel.engine.latents import draw_latents
from kennel.engine.state import TrainPlan, TrainState
from kennel.features.fused_conv import cpu_has_bfloat16
from kennel.shapes import Labels, Pixels
from kennel.storage.atomic_io import write_text
from kennel.storage.cache import cache_folder

Precision = Literal["float32", "bfloat16"]
BOUND = 12.0
"""Seconds of measuring, about."""
LONG = 1.0
"""Seconds of an iteration that is timed: of a slower recipe a part of the batch is played."""
PAIRS = 7
"""An iteration of each precision in turn, so many times: what slows the machine slows both."""
FASTER = 1.1
"""The median of the pairs' ratios from which on bfloat16 is not within the noise."""
FASTER_ONCE = 1.25
"""The same of fewer than three pairs."""
FEWEST_ITERATIONS = 200
"""A run of fewer is over soon: nothing is measured for it."""
WORTH = 8
"""Nor for one that takes less than this many times `BOUND`, as its first iteration shows."""
LONGEST_FILE = 10_000

Timer = Callable[[Precision, int, float | None], float]
"""Seconds of one iteration in a precision, of so many images a batch. Where a time of the clock is given,
`LateError` is raised there: a warm-up, which may be slower than what is timed."""


class LateError(Exception):
    """The bound was reached in the middle of an iteration."""


@dataclass(frozen=True)
class Measured:
    """The precision to take, and how many times as fast as float32 bfloat16 is."""

    precision: Precision
    ratio: float

    def words(self) -> str:
        """What the user is told."""
        return f"Precision: {self.precision} (bfloat16 is {self.ratio:.2f} times as fast as float32 here)."


def precision_for(
    recipe: Recipe,
    plan: TrainPlan,
    say: Callable[[str], None] = lambda sentence: None,
    bound: float = BOUND,
    timer: Callable[[Recipe, TrainPlan], Timer] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Precision:
    """The precision for a resolved recipe that leaves it open, on the plan's device.

    float32 where the device has no bfloat16, where the run is too short to gain by knowing, where `bound`
    seconds do not suffice to measure, and where the two are within the noise. What was measured is kept in
    the cache, by processor, version of torch, number of threads and recipe. Of several ranks one asks, and
    tells the others.
    """
    device, iterations = plan.device, plan.total_images // (plan.batch_size * plan.steps.discriminator)
    if iterations < FEWEST_ITERATIONS or not _has_bfloat16(device):
        return "float32"
    own = replace(
        plan,
        batch_size=max(2, plan.batch_size // world_size()),
        steps=plan.steps.model_copy(update={"extra_d_steps": None}),
    )
    file, key = remembered_in(recipe, own)
    found = recall(file, key)
    if found is None:
        with (
            single_process(),
            suppress(RuntimeError, LateError),
        ):  # no kernel for it, no memory: the run will tell
            deadline = clock() + bound
            found = measure((timer or Iterations)(recipe, own), own.batch_size, iterations, clock, deadline)
        if found is None:
            return "float32"
        with suppress(OSError):  # a cache that cannot be written costs the next run its measuring
            write_text(file, json.dumps({"key": key, **asdict(found)}, indent=2) + "\n")
    say(found.words())
    return found.precision


def measure(
    timer: Timer, batch: int, iterations: int, clock: Callable[[], float], deadline: float
) -> Measured | None:
    """Times both in pairs until the deadline; None where that is too near, or the run too short for it."""
    part = max(2, batch // 16)
    times: dict[Precision, list[float]] = {"float32": [], "bfloat16": []}
    for name in times:
        timer(name, part, deadline)
    seconds = timer("float32", part, deadline)
    if seconds * batch / part * iterations < WORTH * BOUND:
        return None
    longest = min(LONG, (deadline - clock()) / 8)
    while 2 * part <= batch and 2 * seconds <= longest:
        part, seconds = 2 * part, 2 * seconds
    for name in times:
        timer(name, part, deadline)
    pair = 2 * seconds
    while len(times["float32"]) < PAIRS and clock() + pair < deadline:
        began = clock()
        for name, found in times.items():
            found.append(timer(name, part, None))
        pair = clock() - began
    if not times["float32"]:
        return None
    ratios = [plain / half for plain, half in zip(times["float32"], times["bfloat16"], strict=True)]
    wanted = FASTER if len(ratios) > 2 else FASTER_ONCE
    wins = sum(ratio > 1 for ratio in ratios)
    ratio = statistics.median(ratios)
    faster = ratio >= wanted and wins >= 0.75 * len(ratios)
    return Measured("bfloat16" if faster else "float32", ratio)


class Iterations:
    """Real iterations of a recipe's own networks, losses and techniques, on random pixels."""

    def __init__(self, recipe: Recipe, plan: TrainPlan) -> None:
        """The networks are built; they are thrown away after the measuring."""
        device = plan.device
        plain = recipe.model_copy(
            update={"compute": recipe.compute.model_copy(update={"precision": "float32"})}
        )
        self._step = build_step(uncompiled(with_compute_defaults(plain, device)), device)
        self._recipe, self._plan = recipe, plan
        size, channels = recipe.image.size or 1, recipe.image.channels or 1
        random = torch.Generator().manual_seed(0)
        shape = (plan.batch_size, channels, size, size)
        self._pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=random).to(device)
        self._labels: Labels | None = None
        if labels := network_spec(recipe).num_labels:
            self._labels = torch.randint(0, labels, (plan.batch_size,), generator=random).to(device)
        self._played: dict[str, int] = {}

    def __call__(self, precision: Precision, batch: int, deadline: float | None) -> float:
        """See `Timer`. Both precisions play the same iterations, in which the same lazy terms are due."""
        self._step.compute.precision = PRECISIONS[precision]
        plan = replace(self._plan, batch_size=batch)
        stream = _Rows(self._pixels[:batch], None if self._labels is None else self._labels[:batch])
        latent = self._recipe.latent
        state = TrainState(
            self._step, plan, stream, lambda count, random: draw_latents(latent, count, random)
        )
        played = self._played.get(precision, 0)
        self._played[precision] = played + 1
        state.images_seen = played * batch * plan.steps.discriminator
        wait_for(plan.device)
        began = time.perf_counter()
        with nullcontext() if deadline is None else _Until(deadline):
            iterate(state)
        wait_for(plan.device)
        return time.perf_counter() - began


class _Until(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Ends what is computed inside with `LateError` at the first operation after the deadline."""

    def __init__(self, deadline: float) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._deadline = deadline

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if time.perf_counter() > self._deadline:
            raise LateError
        return func(*args, **kwargs or {})


@dataclass(frozen=True)
class _Rows:
    """The same batch again and again."""

    pixels: Pixels
    labels: Labels | None

    def at(self, images_seen: int) -> tuple[Pixels, Labels | None]:
        return self.pixels, self.labels


def remembered_in(recipe: Recipe, plan: TrainPlan) -> tuple[Path, dict[str, str | int]]:
    """(the file of the cache, what it is true of): only of what has an influence on speed."""
    neutral = recipe.model_copy(
        update={
            "name": "",
            "seed": 0,
            "num_ticks": 1,
            "keep_checkpoints": 1,
            "budget": Budget(images=1),
            "validation": ValidationConfig(),
            "alarms": AlarmsConfig(),
        }
    )
    speed = hashlib.blake2b(recipe.compute.model_dump_json().encode(), digest_size=4).hexdigest()
    key: dict[str, str | int] = {
        "processor": processor(plan.device),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "batch": plan.batch_size,
        "recipe": f"{neutral.fingerprint()}-{speed}",
    }
    name = hashlib.blake2b(json.dumps(key, sort_keys=True).encode(), digest_size=8).hexdigest()
    return cache_folder() / "precision" / f"{name}.json", key


def recall(file: Path, key: dict[str, str | int]) -> Measured | None:
    """What the cache has for `key`; None where that is missing, damaged, or of something else."""
    try:
        if file.is_symlink() or not file.is_file() or file.stat().st_size > LONGEST_FILE:
            return None
        content = json.loads(file.read_text(encoding="utf-8"))
        if content["key"] != key or content["precision"] not in PRECISIONS:
            return None
        ratio = content["ratio"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    if type(ratio) is not float or not math.isfinite(ratio) or ratio <= 0:
        return None
    return Measured(content["precision"], ratio)


def processor(device: torch.device) -> str:
    """The model's name of a GPU or of the processor."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    with suppress(OSError, UnicodeDecodeError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def _has_bfloat16(device: torch.device) -> bool:
    """Where it is not emulated altogether; whether it pays is measured."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return device.type == "cpu" and cpu_has_bfloat16()
