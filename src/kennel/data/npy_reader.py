"""Rows of an `.npy` file read by their place in it, and not through a memory map.

Behind a map a file that is cut off, or a disk that fails, ends the process with a bus error; a read that
fails raises, and can be told in a sentence. From a cold disk reads are also many times faster: each page of a
map is waited for alone, while the rows that will be read can be named to the system beforehand.
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
    """The rows (the first axis) of a C-ordered `.npy` file. One thread at a time may read.

    The file is held open: one that is replaced or removed meanwhile is read to the end as it was.
    """

    def __init__(self, path: Path, array: npt.NDArray[Any]) -> None:
        """`array` is the file's memory map, for its shape, its dtype and where its data begin."""
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
        """Tells the system that these rows will be read soon, where it listens; returns at once."""
        if hasattr(os, "posix_fadvise"):
            number, size = self._file.fileno(), self.row_bytes
            for row in rows.tolist():
                os.posix_fadvise(number, self._offset + row * size, size, os.POSIX_FADV_WILLNEED)

    def read(self, rows: RowArray, into: npt.NDArray[Any]) -> None:
        """Reads row `rows[i]` into `into[i]`, a C-ordered array (len(rows), ...) of the file's dtype.

        Raises `DataError` where the file ends too early or cannot be read.
        """
        assert into.flags.c_contiguous
        view, size = into.reshape(-1).view(np.uint8).data, self.row_bytes
        order = np.argsort(rows)  # forwards through the file
        for place, row in zip(order.tolist(), rows[order].tolist(), strict=True):
            self._fill(view[place * size : (place + 1) * size], row)

    def chunks(self, first: int = 0) -> Iterator[npt.NDArray[Any]]:
        """All rows from the `first` on, in order, some megabytes at a time. Raises as `read`."""
        step = max(1, _CHUNK_BYTES // max(1, self.row_bytes))
        for start in range(first, len(self), step):
            chunk = np.empty((min(step, len(self) - start), *self.shape[1:]), self.dtype)
            self._fill(chunk.reshape(-1).view(np.uint8).data, start)
            yield chunk

    def _fill(self, view: memoryview, row: int) -> None:
        """Reads from the beginning of `row` until the view is full."""
        try:
            self._file.seek(self._offset + row * self.row_bytes)
            while len(view):
                count = self._file.readinto(view)
                if not count:
                    raise self._failed(f"it ends before image {row:,}")
                view = view[count:]
        except OSError as error:
            raise self._failed(error.strerror) from error

    def _failed(self, why: str | None) -> DataError:
        return DataError(
            f"'{self.path}' can no longer be read ({why}): bring the set back as it was, and give the same "
            "command again to go on"
        )

    def close(self) -> None:
        """Gives the file back."""
        self._file.close()
