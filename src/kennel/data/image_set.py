"""What anything that holds images must offer to be described, trained on or judged."""

import hashlib
from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

PixelArray = npt.NDArray[np.uint8]
RowArray = npt.NDArray[np.int64]


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
