"""A collection of images in one array."""

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from kennel.data.sources.collection import Collection
from kennel.data.sources.decode import Picture, Reading
from kennel.errors import DataError


class ArrayCollection(Collection):
    """Images in one uint8 array (N, H, W) or (N, C, H, W), for example from idx files."""

    keeps_duplicates = True  # they are part of the published set

    def __init__(
        self,
        images: npt.NDArray[np.uint8],
        labels: npt.NDArray[np.integer[Any]] | None,
        classes: tuple[str, ...] | None,
        source: str = "the set",
    ) -> None:
        """`labels` (N,) are indices of `classes` (None: the numbers as names), else `DataError`."""
        self._images, self._labels = images, labels
        largest = int(labels.max()) if labels is not None and len(labels) else -1
        self.classes = (classes or tuple(map(str, range(largest + 1)))) if labels is not None else ()
        if largest >= len(self.classes):
            raise DataError(f"the labels of {source} go up to {largest}, of {len(self.classes)} classes")
        self.native_size = int(images.shape[-1]) if images.shape[-1] == images.shape[-2] else None

    def __len__(self) -> int:
        return len(self._images)

    def name(self, index: int) -> str:
        """`class/number`, since array images have no names."""
        return f"{self.classes[self.label(index)]}/{index}" if self.classes else str(index)

    def label(self, index: int) -> int:
        return -1 if self._labels is None else int(self._labels[index])

    def read(self, index: int) -> npt.NDArray[np.uint8]:
        return np.asarray(self._images[index])

    def header(self, content: npt.NDArray[np.uint8], max_pixels: int, name: str) -> tuple[int, int, int]:
        return int(content.shape[-1]), int(content.shape[-2]), 1

    def load(self, content: npt.NDArray[np.uint8], reading: Reading, name: str) -> Picture:
        pixels = content.transpose(1, 2, 0) if content.ndim == 3 else content
        return Picture(Image.fromarray(np.ascontiguousarray(pixels)), 1)

    def span(self, content: npt.NDArray[np.uint8], reading: Reading, name: str) -> None:
        return None
