"""Measures which precision is faster on this device, for `compute.precision=auto`, and caches the result."""

import hashlib
import json
import math
import platform
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from kennel.config.alarms import AlarmsConfig
from kennel.config.recipe import Recipe, ValidationConfig
from kennel.config.steps import Budget
from kennel.distributed import single_process, world_size
from kennel.engine.builder import build_step, network_spec
from kennel.engine.compute_defaults import (
    PRECISIONS,
    uncompiled,
    wait_for,
    with_compute,
    with_compute_defaults,
)
from kennel.engine.iteration import iterate
from kennel.engine.latents import draw_latents
from kennel.engine.state import TrainPlan, TrainState
from kennel.features.fused_conv import cpu_has_bfloat16
from kennel.shapes import Labels, Pixels
from kennel.storage.atomic_io import write_text
from kennel.storage.cache import cache_folder

Precision = Literal["float32", "bfloat16"]
BOUND = 12.0
"""Approximate seconds that the measurement may take."""
LONG = 1.0
"""Longest timed iteration in seconds; a slower recipe is timed with a part of its batch."""
PAIRS = 7
"""Pairs of one iteration in each precision; alternating, so that other load slows both."""
FASTER = 1.1
"""bfloat16 is chosen from this median ratio on; less could be noise."""
FASTER_ONCE = 1.25
"""The same for fewer than three pairs."""
FEWEST_ITERATIONS = 200
"""Shorter runs are not measured."""
WORTH = 8
"""Nor are runs that take less than this many times `BOUND`, judged by their first iteration."""
LONGEST_FILE = 10_000

Timer = Callable[[Precision, int, float | None], float]
"""`timer(precision, batch, deadline)`: seconds of one iteration. With a deadline (a time of the clock), as in
a slow warm-up, it raises `LateError` when the deadline passes."""


class LateError(Exception):
    """The deadline passed during an iteration."""


@dataclass(frozen=True)
class Measured:
    """The chosen precision, and how many times faster bfloat16 is than float32."""

    precision: Precision
    ratio: float

    def message(self) -> str:
        return f"Precision: {self.precision} (bfloat16 is {self.ratio:.2f} times as fast as float32 here)."


def precision_for(
    recipe: Recipe,
    plan: TrainPlan,
    log: Callable[[str], None] = lambda sentence: None,
    bound: float = BOUND,
    timer: Callable[[Recipe, TrainPlan], Timer] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Precision:
    """The faster precision for a resolved recipe on the plan's device.

    It is float32 if the device has no bfloat16, the run is too short to benefit, `bound` seconds are too few
    to measure, or the difference is within the noise. The result is cached by processor, torch version,
    threads and recipe. With several ranks, call it on one and broadcast the result.
    """
    device, iterations = plan.device, plan.total_images // (plan.batch_size * plan.steps.discriminator)
    if iterations < FEWEST_ITERATIONS or not _has_bfloat16(device):
        return "float32"
    own = replace(
        plan,
        batch_size=max(2, plan.batch_size // world_size()),
        steps=plan.steps.model_copy(update={"extra_d_steps": None}),
    )
    file, key = cache_entry(recipe, own)
    found = read_cached(file, key)
    if found is None:
        # On an error, such as a missing kernel or too little memory, training itself reports it.
        with single_process(), suppress(RuntimeError, LateError):
            deadline = clock() + bound
            found = measure((timer or Iterations)(recipe, own), own.batch_size, iterations, clock, deadline)
        if found is None:
            return "float32"
        with suppress(OSError):  # without a writable cache the next run measures again
            write_text(file, json.dumps({"key": key, **asdict(found)}, indent=2) + "\n")
    log(found.message())
    return found.precision


def measure(
    timer: Timer, batch: int, iterations: int, clock: Callable[[], float], deadline: float
) -> Measured | None:
    """Times both in pairs until the deadline; None if there is too little time, or the run is too short."""
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
        start = clock()
        for name, found in times.items():
            found.append(timer(name, part, None))
        pair = clock() - start
    if not times["float32"]:
        return None
    ratios = [full / half for full, half in zip(times["float32"], times["bfloat16"], strict=True)]
    threshold = FASTER if len(ratios) > 2 else FASTER_ONCE
    wins = sum(ratio > 1 for ratio in ratios)
    ratio = statistics.median(ratios)
    faster = ratio >= threshold and wins >= 0.75 * len(ratios)
    return Measured("bfloat16" if faster else "float32", ratio)


class Iterations:
    """Real iterations of the recipe's networks, losses and techniques, on random pixels."""

    def __init__(self, recipe: Recipe, plan: TrainPlan) -> None:
        device = plan.device
        float32 = with_compute_defaults(with_compute(recipe, precision="float32"), device)
        self._step = build_step(uncompiled(float32), device)
        self._recipe, self._plan = recipe, plan
        size, channels = recipe.image.size or 1, recipe.image.channels or 1
        random = torch.Generator().manual_seed(0)
        shape = (plan.batch_size, channels, size, size)
        self._pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=random).to(device)
        self._labels: Labels | None = None
        if labels := network_spec(recipe).num_labels:
            self._labels = torch.randint(0, labels, (plan.batch_size,), generator=random).to(device)
        self._done: dict[str, int] = {}

    def __call__(self, precision: Precision, batch: int, deadline: float | None) -> float:
        """See `Timer`. Both precisions run the same iterations, in which the same lazy terms are due."""
        self._step.compute.precision = PRECISIONS[precision]
        plan = replace(self._plan, batch_size=batch)
        batches = _FixedBatch(self._pixels[:batch], None if self._labels is None else self._labels[:batch])
        state = TrainState(self._step, plan, batches, partial(draw_latents, self._recipe.latent))
        done = self._done.get(precision, 0)
        self._done[precision] = done + 1
        state.images_seen = done * batch * plan.steps.discriminator
        wait_for(plan.device)
        start = time.perf_counter()
        with nullcontext() if deadline is None else _Deadline(deadline):
            iterate(state)
        wait_for(plan.device)
        return time.perf_counter() - start


class _Deadline(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Raises `LateError` at the first operation in the block after the deadline."""

    def __init__(self, deadline: float) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._deadline = deadline

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if time.perf_counter() > self._deadline:
            raise LateError
        return func(*args, **kwargs or {})


@dataclass(frozen=True)
class _FixedBatch:
    """The same batch at every call."""

    pixels: Pixels
    labels: Labels | None

    def at(self, images_seen: int) -> tuple[Pixels, Labels | None]:
        return self.pixels, self.labels


def cache_entry(recipe: Recipe, plan: TrainPlan) -> tuple[Path, dict[str, str | int]]:
    """(cache file, key): the key has only what affects the speed."""
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
    compute = hashlib.blake2b(recipe.compute.model_dump_json().encode(), digest_size=4).hexdigest()
    key: dict[str, str | int] = {
        "processor": processor(plan.device),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "batch": plan.batch_size,
        "recipe": f"{neutral.fingerprint()}-{compute}",
    }
    name = hashlib.blake2b(json.dumps(key, sort_keys=True).encode(), digest_size=8).hexdigest()
    return cache_folder() / "precision" / f"{name}.json", key


def read_cached(file: Path, key: dict[str, str | int]) -> Measured | None:
    """The cached result for `key`; None if it is missing, damaged or for another key."""
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
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    with suppress(OSError, UnicodeDecodeError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def _has_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 is not emulated; whether it is faster is measured."""

    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return device.type == "cpu" and cpu_has_bfloat16()
