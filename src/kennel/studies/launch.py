"""What the runner of a study asks of a launcher, and what all launchers share."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from kennel.studies.matrix import StudyRun


@dataclass(frozen=True)
class Outcome:
    """How an attempt to train a run ended.

    `error` is a sentence, empty if its process ended with 0. `lost`: the run is not the cause (its worker or
    machine is gone, or something ended it from outside), so that another attempt may succeed.
    """

    error: str = ""
    lost: bool = False


@runtime_checkable
class Attempt(Protocol):
    """One process that trains a run, or is queued to. `machine` is empty where there is only one."""

    begun: bool
    device: str
    machine: str

    def poll(self) -> Outcome | None:
        """How it ended; None as long as it has not."""

    def stop(self, number: int) -> None:
        """Makes it write a checkpoint and end, by the signal `number`; at once if it has not begun."""


@runtime_checkable
class Launcher(Protocol):
    """Starts attempts: processes on this machine, or workers of a cluster."""

    def has_room(self) -> bool:
        """Whether one more attempt can be started now."""

    def start(self, run: StudyRun) -> Attempt:
        """Starts one attempt; only if `has_room()`."""


def train_command(run: StudyRun, device: str, imports: Sequence[str] = ()) -> list[str]:
    """The arguments of `kennel` that train or resume `run`, with absolute paths."""
    command = ["train", str(run.recipe_file.absolute()), str(run.set_path.absolute())]
    command += ["--out", str(run.path.absolute()), "--device", device]
    if run.hours is not None and not run.folder.exists():
        command += ["--hours", str(run.hours)]
    for name in imports:
        command += ["--import", name]
    return command


def last_words(output: str, code: int) -> str:
    """What a process that ended with `code` says about its error: its error line, else its last line."""
    if code < 0:
        return f"it was ended by signal {-code}"
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line.removeprefix("Error:").strip() for line in lines if line.startswith("Error:")]
    return errors[-1] if errors else (lines[-1] if lines else f"exit code {code}")
