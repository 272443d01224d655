"""Stop signals: the first one ends a run with a checkpoint, the second one ends the process."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from kennel.engine.observer import TrainObserver

FORWARDED = 1.0
"""Seconds in which a second SIGTERM counts as the first: terminals, shells and torchrun forward it."""
PARENT = "KENNEL_PARENT"
"""An environment variable: the parent process. A run stops, with a checkpoint, if that is gone."""


@contextmanager
def stop_on_signals(observer: TrainObserver) -> Iterator[Callable[[], bool]]:
    """Yields a function that says whether Ctrl-C, SIGTERM or SIGHUP has requested a stop.

    A second signal ends the process: Ctrl-C as `KeyboardInterrupt`, the others as `SystemExit` with the code
    128 + their number. An ignored SIGHUP (nohup) stays ignored.
    """
    requested_at: float | None = None
    parent = os.environ.get(PARENT)

    def requested() -> bool:
        return requested_at is not None or (parent is not None and str(os.getppid()) != parent)

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal requested_at
        if requested_at is not None:
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            if time.monotonic() - requested_at > FORWARDED:
                raise SystemExit(128 + number)
            return
        requested_at = time.monotonic()
        with suppress(OSError):  # after a hang-up the terminal is gone
            observer.on_stop_requested(number)

    try:
        before = {number: signal.signal(number, handle) for number in _signals()}
    except ValueError:  # not the main thread, so the caller handles signals
        yield lambda: False
        return
    try:
        yield requested
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _signals() -> list[signal.Signals]:
    found = [signal.SIGINT, signal.SIGTERM]
    hang_up = getattr(signal, "SIGHUP", None)  # not on Windows
    if hang_up is not None and signal.getsignal(hang_up) != signal.SIG_IGN:
        found.append(hang_up)
    return found
