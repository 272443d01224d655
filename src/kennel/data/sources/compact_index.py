"""Memory-efficient columns for the names and positions of millions of files."""

import hashlib
import heapq
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

_SORTED_AT_ONCE = 1 << 18  # names that are sorted as Python strings; longer lists are merged from such parts
_FRESH = 1 << 16


class CompactStrings:
    """A list of strings that takes their UTF-8 bytes and 8 more per string."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._letters = bytearray()
        self._ends = array("q", [0])
        for name in names:
            self.append(name)

    def append(self, name: str) -> None:
        # Names from a disk may not be UTF-8; Python represents such bytes as lone surrogates.
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
        """The strings at `indices`, in that order."""
        return CompactStrings(self[index] for index in indices)


class FileIndex:
    """For each file the container's number, the key in the container and the size in bytes."""

    def __init__(self) -> None:
        self.container, self.where, self.size = array("B"), array("q"), array("q")

    def __len__(self) -> int:
        return len(self.where)

    def add(self, container: int, where: int, size: int) -> None:
        self.container.append(container)
        self.where.append(where)
        self.size.append(size)

    def take(self, indices: Sequence[int]) -> "FileIndex":
        """The files at `indices`, in that order."""
        taken = FileIndex()
        for name in ("container", "where", "size"):
            column = getattr(self, name)
            setattr(taken, name, array(column.typecode, (column[index] for index in indices)))
        return taken


def order_of(labels: Sequence[int], names: CompactStrings) -> "array[int]":
    """The indices that sort stably by label, then by name."""

    def key(index: int) -> tuple[int, str]:
        return labels[index], names[index]

    parts = [
        array("q", sorted(range(start, min(start + _SORTED_AT_ONCE, len(names))), key=key))
        for start in range(0, len(names), _SORTED_AT_ONCE)
    ]
    return parts[0] if len(parts) == 1 else array("q", heapq.merge(*parts, key=key))


class SeenPixels:
    """A set of contents that takes 17 bytes for each (BLAKE2b, 128 bits)."""

    def __init__(self) -> None:
        self._fresh: set[bytes] = set()
        self._sorted: list[npt.NDArray[Any]] = []  # each less than half as long as the one before

    def add(self, content: bytes) -> bool:
        """Adds the content; returns False if it was added before."""
        # The last byte must not be 0, because NumPy strips trailing zeros from strings.
        digest = hashlib.blake2b(content, digest_size=16).digest() + b"\1"
        if digest in self._fresh or any(_holds(part, digest) for part in self._sorted):
            return False
        self._fresh.add(digest)
        if len(self._fresh) >= _FRESH:
            self._merge()
        return True

    def _merge(self) -> None:
        """Moves the fresh digests into the sorted arrays; each digest moves O(log n) times."""
        part = np.sort(np.frombuffer(b"".join(self._fresh), "S17"))
        self._fresh = set()
        while self._sorted and len(self._sorted[-1]) <= 2 * len(part):
            part = np.sort(np.concatenate([self._sorted.pop(), part]), kind="stable")
        self._sorted.append(part)


def _holds(part: npt.NDArray[Any], digest: bytes) -> bool:
    index = int(np.searchsorted(part, np.bytes_(digest)))
    return index < len(part) and bool(part[index] == digest)
