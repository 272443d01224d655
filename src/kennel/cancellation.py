"""Cancels a long computation between two of its parts, such as batches, blocks or metrics.

The caller sets a condition with `cancel_when`; the computation calls `raise_if_cancelled` between its parts.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class CancelledError(Exception):
    """The computation was cancelled; no part of its result is kept."""


_CONDITION: ContextVar[Callable[[], bool]] = ContextVar("condition", default=lambda: False)


@contextmanager
def cancel_when(condition: Callable[[], bool]) -> Iterator[None]:
    """In the block, `raise_if_cancelled` raises `CancelledError` as soon as `condition()` is true."""
    token = _CONDITION.set(condition)
    try:
        yield
    finally:
        _CONDITION.reset(token)


def raise_if_cancelled() -> None:
    """Raises `CancelledError` if the condition of `cancel_when` is true."""
    if _CONDITION.get()():
        raise CancelledError
