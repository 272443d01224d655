"""Images held in memory, as sets of images that metrics are given."""

from collections.abc import Iterator

import numpy as np


class Pictures:
    """Pixels (N, C, H, W), and labels (N,) into `classes`."""

    name = fingerprint = "pictures"

    def __init__(
        self, pixels: np.ndarray, labels: np.ndarray | None = None, classes: tuple[str, ...] = ()
    ) -> None:
        self.pixels, self.labels, self.classes = pixels, labels, classes

    @property
    def shape(self) -> tuple[int, int, int]:
        _, channels, height, width = self.pixels.shape
        return channels, height, width

    def __len__(self) -> int:
        return len(self.pixels)

    def batches(self, size: int) -> Iterator[np.ndarray]:
        for start in range(0, len(self.pixels), size):
            yield self.pixels[start : start + size]
