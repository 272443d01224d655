"""A long computation asks at its seams whether its result is still wanted.

Whoever starts it says by `unless` when it is not, and meets `GivenUpError` from the next seam; where nobody
said anything, a seam costs nothing and never raises. Between two seams lies a batch, a block or a metric.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class CancelledError(Exception):
    """The computation was given up between two of its parts; nothing of it is kept."""


def _never() -> bool:
    return False


_UNWANTED: ContextVar[Callable[[], bool]] = ContextVar("unwanted", default=_never)


@contextmanager
def cancel_when(unwanted: Callable[[], bool]) -> Iterator[None]:
    """Within the block, `seam` raises `GivenUpError` as soon as `unwanted` is true."""
    token = _UNWANTED.set(unwanted)
    try:
        yield
    finally:
        _UNWANTED.reset(token)


def raise_if_cancelled() -> None:
    """Here the computation may be given up."""
    if _UNWANTED.get()():
        raise CancelledError
