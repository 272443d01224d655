"""Trains small runs in processes that can be disturbed, and compares them with an undisturbed run.

Processes are forked from a server that has imported everything, so that they start fast.
"""

import json
import multiprocessing
import os
import random
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from kennel.config.recipe import Recipe, override
from kennel.engine.observer import TrainObserver
from kennel.errors import KennelError
from kennel.recipes import get_recipe
from kennel.runs import checkpoint
from kennel.runs.run_dir import RunDir
from kennel.training.run import train

SETTINGS = (
    *(
        "image.size=8",
        "image.channels=1",
        "generator.base_channels=4",
        "discriminator.base_channels=4",
        "batch_size=8",
    ),
    *("budget.images=960", "num_ticks=60", "validation.every_ticks=4", "validation.extractor=pixels"),
    *("validation.metric=fid", "validation.num_samples=32"),
)
TICK = 16
SERVED = (
    *("kennel.training.run", "kennel.evaluation.metrics.builtin", "PIL.PngImagePlugin", "torch._dynamo"),
    "torch.utils.tensorboard",
)
"""Modules that the server imports once for all processes."""


@dataclass
class Ended:
    """The end of a process: exit code, messages, images shown, and seconds since the disturbance."""

    code: int
    said: list[str]
    images: int
    seconds: float = 0.0


class FileObserver(TrainObserver):
    """Writes messages to a file, and the images shown to shared memory, which outlives a kill."""

    def __init__(self, file: Path, shown: Any) -> None:
        """`file` gets a line of JSON for each message."""
        self.file, self.shown, self.by = file, shown, 0

    def log(self, sentence: str) -> None:
        with self.file.open("a") as file:
            file.write(json.dumps(sentence) + "\n")

    def on_iteration(self, images_seen: int, total: int) -> None:
        self.shown.value = images_seen

    def on_stop_requested(self, by: int) -> None:
        self.by = by


def process_main(
    recipe: Recipe, data: Path, out: Path, file: Path, shown: Any, options: dict[str, Any]
) -> None:
    """Trains in a process; exits with the same codes as the command."""
    torch.set_num_threads(1)
    if (limit := options.pop("file_limit", None)) is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    watch = FileObserver(file, shown)
    try:
        finished = train(recipe, data, out, observer=watch, **options)
    except KennelError as error:
        file.open("a").write(json.dumps(str(error)) + "\n")
        sys.exit(2)
    sys.exit(0 if finished else 128 + watch.by)


class Bench:
    """A set, a recipe, a folder for runs, and the undisturbed run."""

    def __init__(self, folder: Path, seed: int) -> None:
        """Prepares the set and trains the undisturbed run."""
        self.folder, self.random = folder, random.Random(seed)
        self.recipe = override(get_recipe("digits"), SETTINGS)
        self.data = folder / "digits"
        command = [sys.executable, "-m", "kennel", "data", "prepare", "digits", str(self.data), "--size", "8"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.processes = multiprocessing.get_context("forkserver")
        self.processes.set_forkserver_preload(list(SERVED))
        began = time.perf_counter()
        assert self.train(folder / "whole").code == 0
        self.seconds = time.perf_counter() - began
        self.whole = outcome(folder / "whole")

    def train(
        self,
        out: Path,
        disturb: Callable[[Any, Path], float] | None = None,
        recipe: Recipe | None = None,
        **options: Any,
    ) -> Ended:
        """Trains the run `out` in a process; `disturb(process, out)` returns the time of the disturbance."""
        file = self.folder / "said.jsonl"
        file.unlink(missing_ok=True)
        shown = self.processes.Value("q", 0, lock=False)
        given = (recipe or self.recipe, self.data, out, file, shown, options)
        process = self.processes.Process(target=process_main, args=given)
        process.start()
        disturbed = time.monotonic() if disturb is None else disturb(process, out)
        process.join()
        took = time.monotonic() - disturbed
        said = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
        return Ended(process.exitcode, said, shown.value, took)

    def copy_of(self, run: Path, name: str) -> Path:
        """Copies a run, so that the copy can be damaged."""
        copied = self.folder / name
        shutil.rmtree(copied, ignore_errors=True)
        return Path(shutil.copytree(run, copied))

    def at_random(self, number: int) -> Callable[[Any, Path], float]:
        """Sends a signal within 60 ms after a tick or, in 25% of the cases, within 0.4 s after the start."""

        def disturb(process: Any, out: Path) -> float:
            if self.random.random() < 0.75:
                wait_for_tick(process, out)
                process.join(self.random.uniform(0, 0.06))
            else:
                process.join(self.random.uniform(0, 0.4))
            start = time.monotonic()
            if process.exitcode is None:
                os.kill(process.pid, number)
            return start

        return disturb

    def for_table(self, sentence: str) -> str:
        """Shortens the paths of a message and escapes it for the table."""
        return sentence.replace(str(self.folder), "runs").replace("|", "\\|")

    def same(self, run: Path) -> str:
        """Says whether the run's outcome is that of the undisturbed run."""
        return "the outcome is the same bit for bit" if outcome(run) == self.whole else "THE OUTCOME DIFFERS"


def wait_for_tick(process: Any, run: Path) -> None:
    """Waits until the log has a new line, or the process ends."""
    log, before = RunDir(run).log_file, None
    while process.exitcode is None:
        size = log.stat().st_size if log.exists() else 0
        if before is not None and size > before:
            return
        before = size
        time.sleep(0.001)


def outcome(run: Path) -> dict[str, Any]:
    """Returns what must be equal in two runs: tensors, the log without times, grids, the best checkpoint."""
    folder = RunDir(run)
    newest = checkpoint.newest(folder.checkpoints)
    assert newest is not None
    best = checkpoint.load(folder.best_checkpoint)
    log = [{key: value for key, value in line.items() if "second" not in key} for line in folder.log()]
    grids = {path.name: path.read_bytes() for path in sorted(folder.samples.glob("*.png"))}
    words = (newest.images_seen, newest.metadata["checksum"], best.images_seen, best.metadata["checksum"])
    return {"words": words, "log": log, "grids": grids}


def reached(run: Path) -> int:
    """Returns the images shown at the newest valid checkpoint."""
    folder = RunDir(run).checkpoints
    found = checkpoint.newest(folder) if folder.is_dir() else None
    return found.images_seen if found else 0


def broken_lines(run: Path) -> int:
    """Counts lines of the log that are not JSON, except a truncated last one."""
    file = RunDir(run).log_file
    lines = file.read_text().split("\n")[:-1] if file.exists() else []
    return sum(1 for line in lines if not line.startswith("{") or not line.endswith("}"))


def events_agree(run: Path) -> bool:
    """Returns whether TensorBoard's events are the log's steps and values, each once."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(RunDir(run).tensorboard), size_guidance={"scalars": 0})
    events.Reload()
    log = RunDir(run).log()
    for tag in {name for line in log for name in line} - {"images"}:
        written = [(event.step, event.value) for event in events.Scalars(tag)]
        logged = [(line["images"], line[tag]) for line in log if line.get(tag) is not None]
        same = all(
            abs(one - other) <= 1e-6 * abs(other)
            for (_, one), (_, other) in zip(written, logged, strict=False)
        )
        if [step for step, _ in written] != [step for step, _ in logged] or not same:
            return False
    return True
