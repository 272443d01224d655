"""The runs of a study as processes on this machine."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO

from kennel.studies.launch import Outcome, last_words, train_command
from kennel.studies.matrix import StudyRun
from kennel.training.signals import PARENT


@dataclass
class LocalAttempt:
    """A process that trains a run on `device`."""

    process: subprocess.Popen[bytes]
    output: IO[bytes]
    device: str
    begun: bool = True
    machine: str = ""
    outcome: Outcome | None = None

    def poll(self) -> Outcome | None:
        """See `Attempt`. A process that was killed counts as failed: here no other process trains the run."""
        if self.outcome is None and (code := self.process.poll()) is not None:
            self.output.seek(0)
            said = self.output.read().decode(errors="replace")
            self.output.close()
            self.outcome = Outcome("" if code == 0 else last_words(said, code))
        return self.outcome

    def stop(self, number: int) -> None:
        """See `Attempt`."""
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.Signals(number))


@dataclass
class LocalLauncher:
    """Processes on the devices `slots`, such as ("cpu",) or ("cuda:0", "cuda:1"); a device that is named
    twice takes two runs.

    `threads` of each process; None: `OMP_NUM_THREADS`, else the cores are divided. `imports` are modules and
    files of `--import`.
    """

    slots: Sequence[str]
    threads: int | None = None
    imports: Sequence[str] = ()
    _running: dict[int, LocalAttempt] = field(default_factory=dict)

    def has_room(self) -> bool:
        """See `Launcher`."""
        return self._free() is not None

    def start(self, run: StudyRun) -> LocalAttempt:
        """See `Launcher`."""
        slot = self._free()
        assert slot is not None
        device = self.slots[slot]
        output = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the process
        # A session of its own: Ctrl-C reaches it through us, once.
        process = subprocess.Popen(
            [sys.executable, "-m", "kennel", *train_command(run, device, self.imports)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=self._environment(),
            start_new_session=True,
        )
        self._running[slot] = LocalAttempt(process, output, device)
        return self._running[slot]

    def _free(self) -> int | None:
        """The first slot without a running process."""
        for slot in range(len(self.slots)):
            if slot not in self._running or self._running[slot].poll() is not None:
                return slot
        return None

    def _environment(self) -> dict[str, str]:
        shared = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // len(self.slots)))}
        chosen = {} if self.threads is None else {"OMP_NUM_THREADS": str(self.threads)}
        return shared | dict(os.environ) | chosen | {PARENT: str(os.getpid())}


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
