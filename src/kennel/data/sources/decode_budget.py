"""Pictures that are being decoded at one time fill no more than a share of the memory that is free."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from kennel.data.free_memory import free_host_bytes
from kennel.errors import DataError

SHARE = 0.5
SMALL = 16 << 20
"""A picture of fewer bytes is not waited for: looking at what is free would take as long as decoding it."""

_changed = threading.Condition()
_taken = 0


@contextmanager
def in_flight(size: int) -> Iterator[None]:
    """Holds `size` bytes for the block; waits until the pictures of other threads have left room for them.

    Raises `DataError` where all of the free memory would not do, no matter who waits.
    """
    global _taken  # noqa: PLW0603
    if size < SMALL:
        yield
        return
    with _changed:
        # What others hold is perhaps not yet filled: it is not counted as free.
        while _taken and _taken + size > SHARE * free_host_bytes():
            _changed.wait(timeout=1.0)
        if size > (free := free_host_bytes()) > 0:
            raise DataError(f"decoding it takes {size:,} bytes of memory, and {free:,} are free")
        _taken += size
    try:
        yield
    finally:
        with _changed:
            _taken -= size
            _changed.notify_all()
