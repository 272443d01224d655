"""What anything that holds images must offer to be described, trained on or judged."""

import hashlib
from collections.abc import Callable, Iterator
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

PixelArray = npt.NDArray[np.uint8]
RowArray = npt.NDArray[np.int64]
BATCH, DRAWN_AT_ONCE = 64, 512
"""Images at a time of a set that is gone through, and of one that gives those asked for."""


@runtime_checkable
class ImageSet(Protocol):
    """A sized collection of uint8 images of one shape, read in batches and always in the same order."""

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

    def batches(self, size: int) -> Iterator[PixelArray]:
        """All images as uint8 (at most `size`, C, H, W), in order."""
        ...


class ChosenSet:
    """Some images of a set, in its order; an `ImageSet`."""

    def __init__(self, whole: ImageSet, rows: RowArray) -> None:
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

    def batches(self, size: int) -> Iterator[PixelArray]:
        """The chosen images, at most `size` at a time: what of each batch of the whole was chosen."""
        start = 0
        for pixels in self._whole.batches(size):
            first, last = np.searchsorted(self._rows, (start, start + len(pixels)))
            if last > first:
                yield pixels[self._rows[first:last] - start]
            start += len(pixels)
            if last == len(self._rows):
                return


def read_rows(
    images: ImageSet, rows: RowArray, change: Callable[[PixelArray], PixelArray] = lambda pixels: pixels
) -> PixelArray:
    """The images at these indices, in their order and as often as they are named, as uint8 (N, C, H, W).

    A set with a method `at(rows)` gives them directly; any other is gone through once. `change` is applied
    to each batch as it comes, so that large images can be made small before they are gathered.
    """
    wanted, places = np.unique(rows, return_inverse=True)
    at = getattr(images, "at", None)
    if at is None:
        parts = [change(pixels) for pixels in ChosenSet(images, wanted).batches(BATCH)]
    else:
        starts = range(0, len(wanted), DRAWN_AT_ONCE)
        parts = [change(at(wanted[start : start + DRAWN_AT_ONCE])) for start in starts]
    return np.concatenate(parts)[places]
