"""A run that is asked to stop by a signal leaves a checkpoint; asked again, it leaves at once."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from kennel.engine.observer import TrainObserver

FORWARDED = 1.0
"""Seconds in which a second SIGTERM is the first one once more: a terminal, a shell and torchrun pass on what
they got."""


@contextmanager
def asked_to_stop(observer: TrainObserver) -> Iterator[Callable[[], bool]]:
    """Ctrl-C, SIGTERM and SIGHUP become a flag that is read between rounds and at the seams of a validation.

    A second one ends the process at once: Ctrl-C as `KeyboardInterrupt`, the others as `SystemExit` with the
    code 128 + their number. A hang-up that the caller has switched off (nohup) stays off.
    """
    asked_at: float | None = None

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal asked_at
        if asked_at is not None:
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            if time.monotonic() - asked_at > FORWARDED:
                raise SystemExit(128 + number)
            return
        asked_at = time.monotonic()
        with suppress(OSError):  # after a hang-up there is nobody to tell
            observer.on_stop_requested(number)

    try:
        before = {number: signal.signal(number, note) for number in _signals()}
    except ValueError:  # not the main thread: whoever runs us there keeps the signals
        yield lambda: False
        return
    try:
        yield lambda: asked_at is not None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _signals() -> list[signal.Signals]:
    found = [signal.SIGINT, signal.SIGTERM]
    hang_up = getattr(signal, "SIGHUP", None)  # Windows has none
    if hang_up is not None and signal.getsignal(hang_up) != signal.SIG_IGN:
        found.append(hang_up)
    return found
