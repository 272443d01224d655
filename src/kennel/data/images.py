"""What anything that holds images must offer to be described, trained on or judged."""

import hashlib
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from kennel.errors import DataError

PixelArray = npt.NDArray[np.uint8]
RowArray = npt.NDArray[np.int64]
BATCH, DRAWN_AT_ONCE = 64, 512
"""Images at a time of a set that is gone through, and of one that gives those asked for."""


@runtime_checkable
class ImageSource(Protocol):
    """A sized collection of uint8 images of one shape, read in batches and always in the same order.

    Ranks that share a set take every `step`-th batch from the `first` on, and read or draw no others.
    """

    @property
    def name(self) -> str:
        """What to call it in a table: a path or a known set's name."""
        ...

    @property
    def fingerprint(self) -> str:
        """Equal for equal pixels in equal order, so that features can be cached under it."""
        ...

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of each image."""
        ...

    def __len__(self) -> int: ...

    def batches(self, size: int, first: int = 0, step: int = 1) -> Iterator[PixelArray]:
        """Images as uint8 (`size`, C, H, W) in order, the set's last batch perhaps smaller: all batches, or
        numbers `first`, `first + step`, ... of them."""
        ...


def batch_starts(count: int, size: int, first: int, step: int) -> range:
    """Where batches number `first`, `first + step`, ... of `count` images begin."""
    return range(first * size, count, step * size)


class Subset:
    """Some images of a set, in its order; an `ImageSet`."""

    def __init__(self, whole: ImageSource, rows: RowArray) -> None:
        """`rows` are indices in rising order."""
        self._whole, self._rows = whole, rows

    @property
    def name(self) -> str:
        """That of the whole set."""
        return self._whole.name

    @property
    def fingerprint(self) -> str:
        """Of the whole set and the choice."""
        digest = hashlib.blake2b(self._rows.tobytes(), digest_size=16).hexdigest()
        return f"{self._whole.fingerprint}/{digest}"

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        return self._whole.shape

    def __len__(self) -> int:
        return len(self._rows)

    def batches(self, size: int, first: int = 0, step: int = 1) -> Iterator[PixelArray]:
        """The chosen images, `size` at a time; all of the whole set are read for any of them."""
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
    """Images in memory; an `ImageSet`.

    `images` uint8 (N, C, H, W) with C 1 or 3; `labels` int64 (N,) with the names of their `classes`, or None.
    """

    def __init__(
        self,
        images: PixelArray,
        name: str = "an array",
        labels: RowArray | None = None,
        classes: tuple[str, ...] = (),
    ) -> None:
        """Raises `DataError` for another dtype or shape, or labels that do not fit."""
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3):
            raise DataError(
                f"{name} is {images.dtype} of shape {images.shape}: expected uint8 (N, C, H, W) with C 1 or 3"
            )
        if labels is not None and len(labels) != len(images):
            raise DataError(f"{name} has {len(images)} images and {len(labels)} labels: give one to each")
        self._images, self._name = images, name
        self.labels, self.classes = labels, classes

    @property
    def name(self) -> str:
        """As it was given."""
        return self._name

    @cached_property
    def fingerprint(self) -> str:
        """The digest of shape and pixels."""
        digest = hashlib.blake2b(repr(self._images.shape).encode(), digest_size=16)
        for image in self._images:
            digest.update(np.ascontiguousarray(image).data)
        return f"pixels-{digest.hexdigest()}"

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        channels, height, width = self._images.shape[1:]
        return int(channels), int(height), int(width)

    def __len__(self) -> int:
        return len(self._images)

    def at(self, rows: RowArray) -> PixelArray:
        """The images at these indices."""
        return np.ascontiguousarray(self._images[rows])

    def batches(self, size: int, first: int = 0, step: int = 1) -> Iterator[PixelArray]:
        """Images in order, `size` at a time; see `ImageSet.batches`."""
        for start in batch_starts(len(self), size, first, step):
            yield np.ascontiguousarray(self._images[start : start + size])


def read_rows(
    images: ImageSource, rows: RowArray, change: Callable[[PixelArray], PixelArray] = lambda pixels: pixels
) -> PixelArray:
    """The images at these indices, in their order and as often as they are named, as uint8 (N, C, H, W).

    A set with a method `at(rows)` gives them directly; any other is gone through once. `change` is applied
    to each batch as it comes, so that large images can be made small before they are gathered.
    """
    wanted, places = np.unique(rows, return_inverse=True)
    at = getattr(images, "at", None)
    if at is None:
        parts = [change(pixels) for pixels in Subset(images, wanted).batches(BATCH)]
    else:
        starts = range(0, len(wanted), DRAWN_AT_ONCE)
        parts = [change(at(wanted[start : start + DRAWN_AT_ONCE])) for start in starts]
    return np.concatenate(parts)[places]
