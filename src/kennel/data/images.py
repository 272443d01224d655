"""The interface of image sets, and sets in memory."""

import hashlib
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from kennel.errors import DataError

PixelArray = npt.NDArray[np.uint8]
RowArray = npt.NDArray[np.int64]
BATCH, BATCH_BY_INDEX = 64, 512
"""Images read at a time: in order, and by their indices."""


@runtime_checkable
class ImageSource(Protocol):
    """A sized collection of uint8 images of one shape, read in batches, always in the same order.

    Ranks that share a set read only every `step`-th batch, from batch `first` on.
    """

    @property
    def name(self) -> str:
        """A path or the name of a known set, for tables."""

    @property
    def fingerprint(self) -> str:
        """A cache key: equal for equal pixels in equal order."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of each image."""

    def __len__(self) -> int: ...

    def batches(self, size: int, first: int = 0, step: int = 1) -> Iterator[PixelArray]:
        """Batches `first`, `first + step`, ... as uint8 (`size`, C, H, W); the set's last may be smaller."""


def channels_first(pixels: PixelArray) -> PixelArray:
    """(H, W) or (H, W, C) to (C, H, W)."""
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def batch_starts(count: int, size: int, first: int, step: int) -> range:
    """The first image of each of the batches `first`, `first + step`, ... of `count` images."""
    return range(first * size, count, step * size)


class Subset:
    """Some images of a set, in its order; an `ImageSource`."""

    def __init__(self, whole: ImageSource, rows: RowArray) -> None:
        """`rows` are sorted indices."""
        self._whole, self._rows = whole, rows
        self.name, self.shape = whole.name, whole.shape

    @property
    def fingerprint(self) -> str:
        digest = hashlib.blake2b(self._rows.tobytes(), digest_size=16).hexdigest()
        return f"{self._whole.fingerprint}/{digest}"

    def __len__(self) -> int:
        return len(self._rows)

    def batches(self, size: int, first: int = 0, step: int = 1) -> Iterator[PixelArray]:
        """See `ImageSource.batches`. It reads all of the whole set."""
        for number, pixels in enumerate(self._all_batches(size)):
            if number >= first and (number - first) % step == 0:
                yield pixels

    def _all_batches(self, size: int) -> Iterator[PixelArray]:
        start = waiting = 0
        parts: list[PixelArray] = []
        for pixels in self._whole.batches(size):
            begin, end = np.searchsorted(self._rows, (start, start + len(pixels)))
            start += len(pixels)
            parts.append(pixels[self._rows[begin:end] - (start - len(pixels))])
            waiting += len(parts[-1])
            if waiting >= size:
                ready = np.concatenate(parts)
                yield ready[:size]
                parts, waiting = [ready[size:]], waiting - size
            if end == len(self._rows):
                break
        if waiting:
            yield np.concatenate(parts)


class ArrayImages:
    """Images in memory; an `ImageSource`.

    `images` uint8 (N, C, H, W) with C 1 or 3; `labels` int64 (N,) with the names of their `classes`, or None.
    """

    def __init__(
        self,
        images: PixelArray,
        name: str = "an array",
        labels: RowArray | None = None,
        classes: tuple[str, ...] = (),
    ) -> None:
        """Raises `DataError` for another dtype or shape, or if the number of labels differs."""
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3):
            raise DataError(
                f"{name} is {images.dtype} of shape {images.shape}: expected uint8 (N, C, H, W) with C 1 or 3"
            )
        if labels is not None and len(labels) != len(images):
            raise DataError(f"{name} has {len(images)} images and {len(labels)} labels: give one per image")
        self._images, self.name = images, name
        self.labels, self.classes = labels, classes
        channels, height, width = images.shape[1:]
        self.shape = int(channels), int(height), int(width)

    @cached_property
    def fingerprint(self) -> str:
        digest = hashlib.blake2b(repr(self._images.shape).encode(), digest_size=16)
        for image in self._images:
            digest.update(np.ascontiguousarray(image).data)
        return f"pixels-{digest.hexdigest()}"

    def __len__(self) -> int:
        return len(self._images)

    def at(self, rows: RowArray) -> PixelArray:
        return np.ascontiguousarray(self._images[rows])

    def batches(self, size: int, first: int = 0, step: int = 1) -> Iterator[PixelArray]:
        for start in batch_starts(len(self), size, first, step):
            yield np.ascontiguousarray(self._images[start : start + size])


def read_rows(
    images: ImageSource, rows: RowArray, change: Callable[[PixelArray], PixelArray] = lambda pixels: pixels
) -> PixelArray:
    """The images at these indices, in that order and with repetitions, as uint8 (N, C, H, W).

    Uses the set's method `at(rows)` if it has one, else reads the set once in order. `change` is applied to
    each batch as it is read, to make large images small before they are gathered.
    """
    unique, inverse = np.unique(rows, return_inverse=True)
    at = getattr(images, "at", None)
    if at is None:
        parts = [change(pixels) for pixels in Subset(images, unique).batches(BATCH)]
    else:
        starts = range(0, len(unique), BATCH_BY_INDEX)
        parts = [change(at(unique[start : start + BATCH_BY_INDEX])) for start in starts]
    return np.concatenate(parts)[inverse]
