"""Reads rows of an `.npy` file without a memory map.

With a map, a truncated file or a failing disk ends the process with a bus error; a read raises an exception.
Reads from a cold disk are also many times faster: a map waits for each page alone, while reads can be
announced to the system beforehand.
"""

import os
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kennel.data.images import RowArray
from kennel.errors import DataError

_CHUNK_BYTES = 32 << 20


class NpyReader:
    """The rows (the first axis) of a C-ordered `.npy` file. Only one thread may read at a time.

    The file stays open: if it is replaced or removed, the old content is still read.
    """

    def __init__(self, path: Path, array: npt.NDArray[Any]) -> None:
        """`array` is the file's memory map, which gives shape, dtype and data offset."""
        self.path = path
        self.shape, self.dtype = array.shape, array.dtype
        self.row_bytes = array.dtype.itemsize * int(np.prod(array.shape[1:], dtype=np.int64))
        self._offset = int(getattr(array, "offset", 0))
        if not array.flags.c_contiguous:
            raise DataError(f"'{path}' is not in C order: prepare the set again")
        try:
            self._file = path.open("rb", buffering=0)
        except OSError as error:
            raise self._failed(error.strerror) from error
        weakref.finalize(self, self._file.close)

    def __len__(self) -> int:
        return int(self.shape[0])

    def announce(self, rows: RowArray) -> None:
        """Requests read-ahead of these rows, if the system supports it. Does not block."""
        if hasattr(os, "posix_fadvise"):
            number, size = self._file.fileno(), self.row_bytes
            for row in rows.tolist():
                os.posix_fadvise(number, self._offset + row * size, size, os.POSIX_FADV_WILLNEED)

    def read(self, rows: RowArray, into: npt.NDArray[Any]) -> None:
        """Reads row `rows[i]` into `into[i]`, a C-ordered array of the file's dtype. Raises `DataError`."""
        assert into.flags.c_contiguous
        view, size = into.reshape(-1).view(np.uint8).data, self.row_bytes
        order = np.argsort(rows)  # forwards through the file
        for index, row in zip(order.tolist(), rows[order].tolist(), strict=True):
            self._fill(view[index * size : (index + 1) * size], row)

    def chunks(self, first: int = 0) -> Iterator[npt.NDArray[Any]]:
        """All rows from `first` on, in order, in chunks of some megabytes. Raises as `read`."""
        step = max(1, _CHUNK_BYTES // max(1, self.row_bytes))
        for start in range(first, len(self), step):
            chunk = np.empty((min(step, len(self) - start), *self.shape[1:]), self.dtype)
            self._fill(chunk.reshape(-1).view(np.uint8).data, start)
            yield chunk

    def _fill(self, view: memoryview, row: int) -> None:
        """Reads from the start of `row` until the view is full."""
        try:
            self._file.seek(self._offset + row * self.row_bytes)
            while len(view):
                count = self._file.readinto(view)
                if not count:
                    raise self._failed(f"it ends before image {row:,}")
                view = view[count:]
        except OSError as error:
            raise self._failed(error.strerror) from error

    def _failed(self, reason: str | None) -> DataError:
        return DataError(
            f"'{self.path}' can no longer be read ({reason}): restore the set, then repeat the command to "
            "resume"
        )

    def close(self) -> None:
        self._file.close()
