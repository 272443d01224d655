"""Decides which runs of a study wait, train, and have ended; one that fails does not stop the others."""

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

from kennel.runs import checkpoint
from kennel.storage.lock import is_locked
from kennel.studies.launch import Attempt, Launcher, Outcome
from kennel.studies.matrix import StudyRun

POLL_SECONDS = 0.5
"""How often attempts are looked at."""
STEP_SECONDS = 0.05
"""How soon a signal is passed on."""
MAX_LOSSES = 3
"""A run fails if it loses this many workers without an image trained in between: it may be the cause."""

WAITING, LOCKED, QUEUED, TRAINING = "waiting", "locked by another process", "queued", "training"
LOST, RESUMED, STOPPED, FAILED = "lost its worker, waiting", "lost its worker, resumed", "stopped", "failed"


@dataclass
class RunState:
    """What became of one run: `words` are "waiting", "training", "finished" and the like.

    `error` is why it failed. `device` and `machine` are where it trains, or trained last. `losses` counts the
    workers that it lost.
    """

    run: StudyRun
    words: str = WAITING
    error: str = ""
    device: str = ""
    machine: str = ""
    losses: int = 0
    vain_losses: int = 0
    images: int = 0

    @property
    def failed(self) -> bool:
        """Whether the run ended with an error."""
        return bool(self.error)

    @property
    def trains(self) -> bool:
        """Whether a process trains it now."""
        return self.words in (TRAINING, RESUMED)


@dataclass
class StudyRunner:
    """Trains what is missing of `runs` with `launcher`.

    `on_change(states)` is called after every change, and about twice a second. `say(sentence)` gets what a
    user should know: which worker was lost, and why.
    """

    runs: Sequence[StudyRun]
    launcher: Launcher
    on_change: Callable[[Sequence[RunState]], None] = lambda states: None
    say: Callable[[str], None] = lambda sentence: None
    states: list[RunState] = field(default_factory=list)
    _signals: list[int] = field(default_factory=list)
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
        running: list[tuple[RunState, Attempt]] = []
        with self._handled():
            while (waiting and not self._stopped) or running:
                self._start(waiting, running)
                self.on_change(self.states)
                self._pause(running)
                for state, attempt in list(running):
                    outcome = attempt.poll()
                    if outcome is None:
                        _show(state, attempt)
                        continue
                    running.remove((state, attempt))
                    if self._may_try_again(state, outcome):
                        waiting.insert(0, state)
                self.on_change(self.states)
        return not self._stopped

    def _start(self, waiting: list[RunState], running: list[tuple[RunState, Attempt]]) -> None:
        """Starts what waits, as far as there is room; a run that a process still locks stays."""
        for state in list(waiting):
            if self._stopped or not self.launcher.has_room():
                return
            if is_locked(state.run.path):
                state.words = LOST if state.losses else LOCKED
                continue
            waiting.remove(state)
            attempt = self.launcher.start(state.run)
            state.error = ""
            running.append((state, attempt))
            _show(state, attempt)

    def _may_try_again(self, state: RunState, outcome: Outcome) -> bool:
        """Notes how an attempt ended; True if the run lost its worker and gets another."""
        progress = state.run.progress()
        if progress is not None and progress.finished:
            state.words = progress.words
            return False
        if self._stopped:
            state.words = STOPPED
            return False
        if not outcome.lost:
            state.words, state.error = FAILED, outcome.error or "it ended before its budget without an error"
            return False
        images = _images(state.run)
        state.losses += 1
        state.vain_losses = 1 if images > state.images else state.vain_losses + 1
        state.images = images
        if state.vain_losses >= MAX_LOSSES:
            state.words = FAILED
            state.error = f"it lost {state.vain_losses} workers without progress: {outcome.error}"
            return False
        state.words = LOST
        self.say(f"{state.run.label} lost its worker ({outcome.error}); it is given to another.")
        return True

    def _pause(self, running: Sequence[tuple[RunState, Attempt]]) -> None:
        """Waits until the next look. Signals are passed on here, not in their handler, where a launcher could
        be in the middle of something."""
        until = time.monotonic() + POLL_SECONDS
        while time.monotonic() < until and not self._signals:
            time.sleep(STEP_SECONDS)
        while self._signals:
            number = self._signals.pop(0)
            self._stopped = True
            for _, attempt in running:
                attempt.stop(number)

    @contextmanager
    def _handled(self) -> Iterator[None]:
        """Ctrl-C and SIGTERM are noted."""

        def note(number: int, frame: FrameType | None) -> None:
            self._signals.append(number)

        numbers = [signal.SIGINT, signal.SIGTERM]
        try:
            before = {number: signal.signal(number, note) for number in numbers}
        except ValueError:  # not the main thread: the caller keeps its signals
            yield
            return
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _images(run: StudyRun) -> int:
    """How many images the run's newest checkpoint has seen; it may lie between two ticks of the log."""
    return max((int(path.stem) for path in checkpoint.in_folder(run.folder.checkpoints)), default=0)


def _show(state: RunState, attempt: Attempt) -> None:
    """Where an attempt is, and whether it has begun."""
    state.device, state.machine = attempt.device, attempt.machine
    if not attempt.begun:
        state.words = LOST if state.losses else QUEUED
    else:
        state.words = RESUMED if state.losses else TRAINING
