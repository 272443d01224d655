"""A run to disturb and the one that nobody did: processes, their ends, and what two outcomes have in common.

Processes are forked from a server that has imported everything, so that a life is short.
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
"""What the server imports once for all processes."""


@dataclass
class Ended:
    """How a process ended: its exit code, what it said, how many images it had shown, seconds since asked."""

    code: int
    said: list[str]
    images: int
    seconds: float = 0.0


class Told(TrainObserver):
    """Writes what is said to a file, and the images shown to memory that outlives a kill."""

    def __init__(self, file: Path, shown: Any) -> None:
        """`file` grows by a line of JSON for each sentence."""
        self.file, self.shown, self.by = file, shown, 0

    def log(self, sentence: str) -> None:
        """A line of the file."""
        with self.file.open("a") as file:
            file.write(json.dumps(sentence) + "\n")

    def on_iteration(self, images_seen: int, total: int) -> None:
        """How far it came."""
        self.shown.value = images_seen

    def on_stop_requested(self, by: int) -> None:
        """The signal that asked."""
        self.by = by


def life(recipe: Recipe, data: Path, out: Path, file: Path, shown: Any, options: dict[str, Any]) -> None:
    """One process: the run until its end, or until something ends it; exits as the command does."""
    torch.set_num_threads(1)
    if (limit := options.pop("file_limit", None)) is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    watch = Told(file, shown)
    try:
        finished = train(recipe, data, out, observer=watch, **options)
    except KennelError as error:
        file.open("a").write(json.dumps(str(error)) + "\n")
        sys.exit(2)
    sys.exit(0 if finished else 128 + watch.by)


class Bench:
    """A set, a recipe, a place for runs, and the run that nobody disturbed."""

    def __init__(self, folder: Path, seed: int) -> None:
        """Prepares the set and trains the undisturbed run."""
        self.folder, self.chance = folder, random.Random(seed)
        self.recipe = override(get_recipe("digits"), SETTINGS)
        self.data = folder / "digits"
        command = [sys.executable, "-m", "kennel", "data", "prepare", "digits", str(self.data), "--size", "8"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.processes = multiprocessing.get_context("forkserver")
        self.processes.set_forkserver_preload(list(SERVED))
        began = time.perf_counter()
        assert self.live(folder / "whole").code == 0
        self.seconds = time.perf_counter() - began
        self.whole = outcome(folder / "whole")

    def live(
        self,
        out: Path,
        disturb: Callable[[Any, Path], float] | None = None,
        recipe: Recipe | None = None,
        **options: Any,
    ) -> Ended:
        """One process on the run `out`; `disturb(process, out)` meets it alive, and gives when it asked."""
        file = self.folder / "said.jsonl"
        file.unlink(missing_ok=True)
        shown = self.processes.Value("q", 0, lock=False)
        given = (recipe or self.recipe, self.data, out, file, shown, options)
        process = self.processes.Process(target=life, args=given)
        process.start()
        asked = time.monotonic() if disturb is None else disturb(process, out)
        process.join()
        took = time.monotonic() - asked
        said = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
        return Ended(process.exitcode, said, shown.value, took)

    def copy_of(self, run: Path, name: str) -> Path:
        """A run to spoil."""
        copied = self.folder / name
        shutil.rmtree(copied, ignore_errors=True)
        return Path(shutil.copytree(run, copied))

    def at_random(self, number: int) -> Callable[[Any, Path], float]:
        """Sends this signal within 60 ms of a new tick, or in a quarter of the cases of the start."""

        def disturb(process: Any, out: Path) -> float:
            if self.chance.random() < 0.75:
                wait_for_tick(process, out)
                process.join(self.chance.uniform(0, 0.06))
            else:
                process.join(self.chance.uniform(0, 0.4))
            asked = time.monotonic()
            if process.exitcode is None:
                os.kill(process.pid, number)
            return asked

        return disturb

    def in_words(self, sentence: str) -> str:
        """A sentence for the table, without this machine's folders."""
        return sentence.replace(str(self.folder), "runs").replace("|", "\\|")

    def same(self, run: Path) -> str:
        """Whether the run came to what the undisturbed one did."""
        return "the outcome is the same bit for bit" if outcome(run) == self.whole else "THE OUTCOME DIFFERS"


def wait_for_tick(process: Any, run: Path) -> None:
    """Until the log has a line more than at the start, or the process is over."""
    log, before = RunDir(run).log_file, None
    while process.exitcode is None:
        size = log.stat().st_size if log.exists() else 0
        if before is not None and size > before:
            return
        before = size
        time.sleep(0.001)


def outcome(run: Path) -> dict[str, Any]:
    """All that must be equal between two runs: the tensors, the log but for seconds, the grids, the best."""
    folder = RunDir(run)
    newest = checkpoint.newest(folder.checkpoints)
    assert newest is not None
    best = checkpoint.load(folder.best_checkpoint)
    log = [{key: value for key, value in line.items() if "second" not in key} for line in folder.log()]
    grids = {path.name: path.read_bytes() for path in sorted(folder.samples.glob("*.png"))}
    words = (newest.images_seen, newest.metadata["checksum"], best.images_seen, best.metadata["checksum"])
    return {"words": words, "log": log, "grids": grids}


def reached(run: Path) -> int:
    """Images at the newest whole checkpoint."""
    folder = RunDir(run).checkpoints
    found = checkpoint.newest(folder) if folder.is_dir() else None
    return found.images_seen if found else 0


def broken_lines(run: Path) -> int:
    """Lines of the log that are no JSON, but for a last one that was cut."""
    file = RunDir(run).log_file
    lines = file.read_text().split("\n")[:-1] if file.exists() else []
    return sum(1 for line in lines if not line.startswith("{") or not line.endswith("}"))


def events_agree(run: Path) -> bool:
    """Whether TensorBoard reads the log's steps and values, each once."""
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
