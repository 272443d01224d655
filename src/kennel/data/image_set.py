"""What anything that holds images must offer to be described, trained on or judged."""

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

PixelArray = npt.NDArray[np.uint8]


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
