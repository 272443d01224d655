"""Computes upcoming values in a background thread."""

import threading
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Generic, TypeVar

T = TypeVar("T")

_CLOSING_SECONDS = 1.0  # how long `close` waits for a read that hangs


class Prefetcher(Generic[T]):
    """Values of `make` at `position`, `position + step`, ..., with `depth` of them computed ahead.

    Another position than the next one restarts there. Exceptions of `make` are raised by `at`. Only one
    thread may call `at`.
    """

    def __init__(self, make: Callable[[int], T], step: int, depth: int) -> None:
        """`make` runs only in the thread, which starts with the first `at`."""
        self._step, self._depth = step, depth
        self._tasks: SimpleQueue[tuple[int, Future[T]] | None] = SimpleQueue()
        self._ahead: deque[tuple[int, Future[T]]] = deque()
        # A daemon thread, unlike an executor's: a read that hangs does not keep the process alive.
        self._thread = threading.Thread(
            target=_work, args=(make, self._tasks), name="kennel-ahead", daemon=True
        )
        # Ends the thread if `close` is not called; the thread has no reference to this object.
        self._stop = weakref.finalize(self, _stop, self._ahead, self._tasks)

    def at(self, position: int) -> T:
        """The value at `position`. Signal handlers run while it waits."""
        if not self._stop.alive:
            raise RuntimeError("the prefetcher is closed: open a new one")
        if not self._thread.ident:
            self._thread.start()
        if not self._ahead or self._ahead[0][0] != position:
            _drop(self._ahead)
            self._add(position)
        value = self._ahead[0][1].result()
        self._ahead.popleft()
        for number in range(len(self._ahead), self._depth):
            self._add(position + (number + 1) * self._step)
        return value

    def _add(self, position: int) -> None:
        self._ahead.append((position, Future()))
        self._tasks.put(self._ahead[-1])

    def close(self) -> None:
        """Ends the thread and drops computed values."""
        self._stop()
        if self._thread.ident:
            self._thread.join(_CLOSING_SECONDS)


def _work(make: Callable[[int], T], tasks: "SimpleQueue[tuple[int, Future[T]] | None]") -> None:
    while task := tasks.get():
        position, future = task
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(make(position))
            except BaseException as error:  # raised again in `at`
                future.set_exception(error)
        del task, future  # so that the caller's value is freed when the caller drops it


def _drop(ahead: "deque[tuple[int, Future[T]]]") -> None:
    for _, future in ahead:
        future.cancel()
    ahead.clear()


def _stop(ahead: "deque[tuple[int, Future[T]]]", tasks: "SimpleQueue[tuple[int, Future[T]] | None]") -> None:
    _drop(ahead)
    tasks.put(None)
