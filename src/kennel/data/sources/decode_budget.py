"""Limits the memory of images that are decoded at the same time."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from kennel.data.free_memory import free_host_bytes
from kennel.errors import DataError

SHARE = 0.5
SMALL = 16 << 20
"""Smaller images are not counted: reading the free memory would take as long as decoding them."""

_changed = threading.Condition()
_taken = 0


@contextmanager
def in_flight(size: int) -> Iterator[None]:
    """Reserves memory for the block, after other threads. `DataError` if `size` exceeds the free memory."""
    global _taken  # noqa: PLW0603
    if size < SMALL:
        yield
        return
    with _changed:
        # Reserved memory may not be allocated yet, so it does not count as free.
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
