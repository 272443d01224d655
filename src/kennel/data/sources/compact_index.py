"""What is known of millions of files, in columns: no Python object is held for each of them."""

import hashlib
import heapq
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

_SORTED_AT_ONCE = 1 << 18
"""Names that are sorted as Python's strings; longer lists are merged from such parts."""
_FRESH = 1 << 16


class CompactStrings:
    """Strings, each in as many bytes as its UTF-8 has and 8 more."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        """Begins with `names`."""
        self._letters = bytearray()
        self._ends = array("q", [0])
        for name in names:
            self.append(name)

    def append(self, name: str) -> None:
        """One more."""
        # Names from a disk may hold bytes that are no UTF-8, which Python writes as lone surrogates.
        self._letters += name.encode("utf-8", "surrogatepass")
        self._ends.append(len(self._letters))

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: int) -> str:
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self._letters[self._ends[index] : self._ends[index + 1]].decode("utf-8", "surrogatepass")

    def __iter__(self) -> Iterator[str]:
        for index in range(len(self)):
            yield self[index]

    def take(self, indices: Iterable[int]) -> "CompactStrings":
        """Those at `indices`, in their order."""
        return CompactStrings(self[index] for index in indices)


class FileIndex:
    """Where files are: the container's number, the place in it, the size in bytes."""

    def __init__(self) -> None:
        self.container, self.where, self.size = array("B"), array("q"), array("q")

    def __len__(self) -> int:
        return len(self.where)

    def add(self, container: int, where: int, size: int) -> None:
        """One more file."""
        self.container.append(container)
        self.where.append(where)
        self.size.append(size)

    def take(self, indices: Sequence[int]) -> "FileIndex":
        """Those at `indices`, in their order."""
        taken = FileIndex()
        for name in ("container", "where", "size"):
            column = getattr(self, name)
            setattr(taken, name, array(column.typecode, (column[index] for index in indices)))
        return taken


def order_of(labels: Sequence[int], names: CompactStrings) -> "array[int]":
    """The indices that sort by label, then by name; what is equal keeps its order."""

    def key(index: int) -> tuple[int, str]:
        return labels[index], names[index]

    starts = range(0, len(names), _SORTED_AT_ONCE)
    parts = [
        array("q", sorted(range(start, min(start + _SORTED_AT_ONCE, len(names))), key=key))
        for start in starts
    ]
    return parts[0] if len(parts) == 1 else array("q", heapq.merge(*parts, key=key))


class SeenPixels:
    """Which contents were there already, by 17 bytes for each (BLAKE2b, 128 bits)."""

    def __init__(self) -> None:
        """Nothing has been seen."""
        self._fresh: set[bytes] = set()
        self._sorted: list[npt.NDArray[Any]] = []
        """Each less than half as long as the one before it."""

    def add(self, content: bytes) -> bool:
        """Remembers the content; False where it was there already."""
        # NumPy's strings end at their last byte that is not 0.
        digest = hashlib.blake2b(content, digest_size=16).digest() + b"\1"
        if digest in self._fresh or any(_holds(part, digest) for part in self._sorted):
            return False
        self._fresh.add(digest)
        if len(self._fresh) >= _FRESH:
            self._settle()
        return True

    def _settle(self) -> None:
        """Sorts what is fresh into the columns; a digest moves as often as the logarithm of their number."""
        part = np.sort(np.frombuffer(b"".join(self._fresh), "S17"))
        self._fresh = set()
        while self._sorted and len(self._sorted[-1]) <= 2 * len(part):
            part = np.sort(np.concatenate([self._sorted.pop(), part]), kind="stable")
        self._sorted.append(part)


def _holds(part: npt.NDArray[Any], digest: bytes) -> bool:
    place = int(np.searchsorted(part, np.bytes_(digest)))
    return place < len(part) and bool(part[place] == digest)
