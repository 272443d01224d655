"""Trains the runs of a study, each in a process of its own; one that fails does not stop the others."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import IO

from kennel.storage.lock import is_locked
from kennel.studies.matrix import StudyRun
from kennel.training.signals import PARENT

POLL_SECONDS = 0.5
"""How often running processes are looked at."""


@dataclass
class RunState:
    """What became of one run: `words` are "waiting", "training", "finished" and the like.

    `error` is what the process said last when it failed. `device` is where it trains.
    """

    run: StudyRun
    words: str = "waiting"
    error: str = ""
    device: str = ""

    @property
    def failed(self) -> bool:
        """Whether the run ended with an error."""
        return bool(self.error)


@dataclass
class _Process:
    state: RunState
    process: subprocess.Popen[bytes]
    output: IO[bytes]
    slot: int = 0


@dataclass
class StudyRunner:
    """Trains what is missing of `runs`.

    `slots` are the devices of processes that train at the same time, such as ("cpu",) or ("cuda:0",
    "cuda:1"); a device that is named twice takes two runs. `hours` is the budget of each run, None where
    the recipe has it. `on_change(states)` is called after every change, and about twice a second.
    """

    runs: Sequence[StudyRun]
    slots: Sequence[str]
    hours: float | None = None
    on_change: Callable[[Sequence[RunState]], None] = lambda states: None
    states: list[RunState] = field(default_factory=list)
    _stopped: bool = False

    def train(self) -> bool:
        """Trains until every run is finished or has failed; False where a signal stopped it.

        Ctrl-C and SIGTERM are passed on to the processes, which write a checkpoint; then this returns. If
        this process is killed, they notice and do the same; a run that one of them still locks has to wait.
        """
        self.states = [RunState(run) for run in self.runs]
        waiting = []
        for state in self.states:
            progress = state.run.progress()
            if progress is not None and progress.finished:
                state.words = progress.words
            else:
                waiting.append(state)
        self.on_change(self.states)
        running: list[_Process] = []
        with self._signals(running):
            while (waiting and not self._stopped) or running:
                free = [slot for slot in range(len(self.slots)) if slot not in {one.slot for one in running}]
                for state in [one for one in waiting if free and not is_locked(one.run.path)]:
                    if free and not self._stopped:
                        waiting.remove(state)
                        running.append(self._start(state, free.pop(0)))
                time.sleep(POLL_SECONDS)
                for one in [one for one in running if one.process.poll() is not None]:
                    running.remove(one)
                    self._finish(one)
                self.on_change(self.states)
        return not self._stopped

    def _start(self, state: RunState, slot: int) -> _Process:
        run, device = state.run, self.slots[slot]
        command = [sys.executable, "-m", "kennel", "train", str(run.recipe_file), str(run.set_path)]
        command += ["--out", str(run.path), "--device", device]
        if self.hours is not None and not run.folder.exists():
            command += ["--hours", str(self.hours)]
        threads = max(1, (os.cpu_count() or 1) // len(self.slots))
        environment = {"OMP_NUM_THREADS": str(threads)} | dict(os.environ) | {PARENT: str(os.getpid())}
        output = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the process
        # A session of its own: Ctrl-C reaches it through us, once.
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
        state.words, state.device, state.error = "training", device, ""
        return _Process(state, process, output, slot)

    def _finish(self, one: _Process) -> None:
        state, code = one.state, one.process.returncode
        progress = state.run.progress()
        if progress is not None and progress.finished:
            state.words = progress.words
        elif self._stopped:
            state.words = "stopped"
        else:
            state.words, state.error = "failed", _last_words(one.output, code)
        one.output.close()

    @contextmanager
    def _signals(self, running: list[_Process]) -> Iterator[None]:
        """Ctrl-C and SIGTERM reach every process, and no further run is started."""

        def stop(number: int, frame: FrameType | None) -> None:
            self._stopped = True
            for one in running:
                one.process.send_signal(number)

        numbers = [signal.SIGINT, signal.SIGTERM]
        try:
            before = {number: signal.signal(number, stop) for number in numbers}
        except ValueError:  # not the main thread: the caller keeps its signals
            yield
            return
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _last_words(output: IO[bytes], code: int) -> str:
    """The error line of a process, or else its last one."""
    output.seek(0)
    lines = [line.strip() for line in output.read().decode(errors="replace").splitlines() if line.strip()]
    errors = [line.removeprefix("Error:").strip() for line in lines if line.startswith("Error:")]
    if code < 0:
        return f"it was ended by signal {-code}"
    return errors[-1] if errors else (lines[-1] if lines else f"exit code {code}")


def slots_for(device: str, jobs: int | None) -> list[str]:
    """The devices of the processes that train at the same time.

    "auto" gives a process to each CUDA device, else one in all. `jobs` is how many processes, spread over
    the devices in turn; None: one for each.
    """
    import torch

    devices = [device]
    if device == "auto" and torch.cuda.is_available():
        devices = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    count = jobs or len(devices)
    return [devices[number % len(devices)] for number in range(count)]
