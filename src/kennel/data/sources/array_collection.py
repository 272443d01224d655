"""A collection of pictures that come as one array."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from kennel.data.sources.annotations import Annotation
from kennel.data.sources.compact_index import CompactStrings
from kennel.data.sources.decode import Picture, Reading
from kennel.data.sources.index import Refusal


class ArrayCollection:
    """Pictures that come as one uint8 array (N, H, W) or (N, C, H, W), for example from idx files."""

    refusals: Sequence[Refusal] = ()
    notes: Sequence[str] = ()
    ignored = CompactStrings()
    annotations_only = False
    has_annotations = False
    keeps_duplicates = True
    """A published copy of a picture is part of its set."""

    def __init__(
        self,
        images: npt.NDArray[np.uint8],
        labels: npt.NDArray[np.integer[Any]] | None,
        classes: tuple[str, ...],
    ) -> None:
        """`labels` (N,) number into `classes`."""
        self._images = images
        self._labels = labels
        self.classes = classes
        self.native_size: int | None = int(images.shape[-1]) if images.shape[-1] == images.shape[-2] else None

    def close(self) -> None:
        """Nothing is open."""

    def __len__(self) -> int:
        return len(self._images)

    def name(self, index: int) -> str:
        """`class/number`: such pictures have no names of their own."""
        return f"{self.classes[self.label(index)]}/{index}" if self.classes else str(index)

    def label(self, index: int) -> int:
        """The class's number, -1 where there are no classes."""
        return -1 if self._labels is None else int(self._labels[index])

    def annotation(self, index: int) -> Annotation | None:
        """None."""
        return None

    def read(self, index: int) -> npt.NDArray[np.uint8]:
        """The pixels (H, W) or (C, H, W)."""
        return np.asarray(self._images[index])

    def header(self, content: npt.NDArray[np.uint8], max_pixels: int, name: str) -> tuple[int, int, int]:
        """(width, height, upright)."""
        return int(content.shape[-1]), int(content.shape[-2]), 1

    def load(self, content: npt.NDArray[np.uint8], reading: Reading, name: str) -> Picture:
        """The picture, upright."""
        pixels = content.transpose(1, 2, 0) if content.ndim == 3 else content
        return Picture(Image.fromarray(np.ascontiguousarray(pixels)), 1)

    def span(self, content: npt.NDArray[np.uint8], reading: Reading, name: str) -> None:
        """None: it has 8 bits."""
