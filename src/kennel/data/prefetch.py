"""What will be asked for next, made in a background thread before it is asked for."""

import threading
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Generic, TypeVar

T = TypeVar("T")

_CLOSING_SECONDS = 1.0
"""How long closing waits for a read that hangs."""


class Prefetcher(Generic[T]):
    """The values of a function at `position`, `position + step`, ..., of which `depth` are made ahead.

    Asked for another position than the next one, it begins anew there. What the function raises is raised
    where its value is asked for. One thread may ask.
    """

    def __init__(self, make: Callable[[int], T], step: int, depth: int) -> None:
        """`make` is called in the thread alone, which begins with the first question."""
        self._step, self._depth = step, depth
        self._tasks: SimpleQueue[tuple[int, Future[T]] | None] = SimpleQueue()
        self._ahead: deque[tuple[int, Future[T]]] = deque()
        # A daemon, unlike the threads of an executor: a read that hangs does not keep the process.
        self._thread = threading.Thread(
            target=_work, args=(make, self._tasks), name="kennel-ahead", daemon=True
        )
        # Whoever forgets to close still leaves no thread behind: it does not hold this object.
        self._stop = weakref.finalize(self, _stop, self._ahead, self._tasks)

    def at(self, position: int) -> T:
        """The value at `position`, waited for where it is not ready; a signal's handler runs meanwhile."""
        if not self._stop.alive:
            raise RuntimeError("what is made ahead was closed: open it anew")
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
        """Ends the thread and drops what is ready; afterwards nothing may be asked for."""
        self._stop()
        if self._thread.ident:
            self._thread.join(_CLOSING_SECONDS)


def _work(make: Callable[[int], T], tasks: "SimpleQueue[tuple[int, Future[T]] | None]") -> None:
    while task := tasks.get():
        position, future = task
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(make(position))
            except BaseException as error:  # whatever it is, it belongs to the one who asks
                future.set_exception(error)
        del task, future  # a value belongs to the one who asks, and its memory is freed by them


def _drop(ahead: "deque[tuple[int, Future[T]]]") -> None:
    for _, future in ahead:
        future.cancel()
    ahead.clear()


def _stop(ahead: "deque[tuple[int, Future[T]]]", tasks: "SimpleQueue[tuple[int, Future[T]] | None]") -> None:
    _drop(ahead)
    tasks.put(None)
