"""What will be asked for next, made in a background thread before it is asked for."""

import threading
import weakref
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

_CLOSING_SECONDS = 1.0
"""How long closing waits for a read that hangs. The thread is a daemon: the process never waits for it."""


class Prefetcher(Generic[T]):
    """The values of a function at `position`, `position + step`, ..., of which `depth` are made ahead.

    Asked for another position than the next one, it begins anew there. What the function raises is raised
    where its value is asked for. One thread may ask.
    """

    def __init__(self, make: Callable[[int], T], step: int, depth: int) -> None:
        """`make` is called in the thread alone, which begins with the first question."""
        self._work = _Work(make, step, depth)
        self._thread: threading.Thread | None = None
        # Whoever forgets to close still leaves no thread behind: it does not hold this object.
        weakref.finalize(self, self._work.stop)

    def at(self, position: int) -> T:
        """The value at `position`, waited for where it is not ready; a signal's handler runs meanwhile."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work.run, name="kennel-ahead", daemon=True)
            self._thread.start()
        return self._work.take(position)

    def close(self) -> None:
        """Ends the thread and drops what is ready; afterwards nothing may be asked for."""
        self._work.stop()
        if self._thread is not None:
            self._thread.join(_CLOSING_SECONDS)


class _Work(Generic[T]):
    """What the thread and its owner share; all of it is guarded by `_changed`."""

    def __init__(self, make: Callable[[int], T], step: int, depth: int) -> None:
        self._make, self._step, self._depth = make, step, depth
        self._changed = threading.Condition()
        self._ready: deque[T] = deque()
        self._first: int | None = None
        """The position of the first that is ready or being made; None before the first question."""
        self._error: BaseException | None = None
        self._beginnings = 0
        self._stopped = False

    def take(self, position: int) -> T:
        with self._changed:
            if position != self._first:
                self._first, self._error = position, None
                self._ready.clear()
                self._beginnings += 1
                self._changed.notify_all()
            while not self._ready:
                if self._error is not None:
                    raise self._error
                if self._stopped:
                    raise RuntimeError("what is made ahead was closed: open it anew")
                self._changed.wait()
            self._first = position + self._step
            self._changed.notify_all()
            return self._ready.popleft()

    def run(self) -> None:
        while True:
            with self._changed:
                while not self._stopped and not self._wanted():
                    self._changed.wait()
                if self._stopped:
                    return
                assert self._first is not None
                beginning, position = self._beginnings, self._first + len(self._ready) * self._step
            error = None
            try:
                made = self._make(position)
            except BaseException as raised:  # whatever it is, it belongs to the one who asks
                error = raised
            with self._changed:
                if beginning == self._beginnings:
                    if error is None:
                        self._ready.append(made)
                    else:
                        self._error = error
                    self._changed.notify_all()

    def _wanted(self) -> bool:
        return self._first is not None and self._error is None and len(self._ready) < self._depth

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._ready.clear()
            self._changed.notify_all()
