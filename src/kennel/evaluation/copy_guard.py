"""Recognizes generated images that are nearer to a training image than training images are to one another."""

import numpy as np
import torch

from kennel.data.images import PixelArray
from kennel.errors import JudgementError
from kennel.evaluation.metrics._nearest import nearest
from kennel.features.base import Extractor
from kennel.features.extract import BATCH
from kennel.features.factory import choose_extractor, open_extractor
from kennel.features.moments import Float64Array, FloatArray, IndexArray
from kennel.features.pixels import PixelCells

QUANTILE = 0.01
"""The share of real images that are as near to another one as a copy may be."""
PIXELS_UP_TO = 32
"""Images of at most this side are compared by their pixels: networks trained on photographs see little in
them, and take a hundred times as long."""


class CopyGuard:
    """Compares images with the nearest of some training images, mirrored or not.

    Distances are Euclidean, of the features of an extractor. An image is a copy if it is at most as far from
    its nearest training image as the nearest `quantile` of the training images are from their nearest other
    one (`threshold`; images that have an equal one do not count). So of new real images about this share
    would be refused.
    """

    def __init__(
        self,
        training: PixelArray,
        extractor: Extractor,
        *,
        quantile: float = QUANTILE,
        device: torch.device | str = "cpu",
    ) -> None:
        """`training`: uint8 (N, C, H, W), all of one class. Raises `JudgementError` for fewer than 2 images,
        and for a quantile outside of (0, 1)."""
        if len(training) < 2:
            raise JudgementError(f"{len(training)} training images are too few to recognize copies: give 2")
        if not 0 < quantile < 1:
            raise JudgementError(f"the quantile of copies is {quantile:g}: give one between 0 and 1")
        self._extractor, self._device = extractor, device
        self._training = self._features(training)
        own = nearest(self._training, self._training, exclude_self=True, device=device).distances[:, 0]
        mirrored = self._to_others(self._features(training[..., ::-1]))
        distances = np.minimum(own, mirrored)
        distinct = distances[distances > 0]
        self.threshold = float(np.quantile(distinct, quantile)) if len(distinct) else 0.0

    def distances(self, images: PixelArray) -> Float64Array:
        """The distance of each image (N, C, H, W) to its nearest training image, float64 (N,)."""
        both = [self._nearest(self._features(side)) for side in (images, images[..., ::-1])]
        return np.minimum(*both)

    def copies(self, images: PixelArray) -> np.ndarray:
        """Which images are copies, bool (N,)."""
        return np.asarray(self.distances(images) <= self.threshold)

    def _nearest(self, rows: FloatArray) -> Float64Array:
        return nearest(rows, self._training, device=self._device).distances[:, 0]

    def _to_others(self, rows: FloatArray) -> Float64Array:
        """The distance of row i to the nearest training image other than image i."""
        found = nearest(rows, self._training, 2, device=self._device)
        indices: IndexArray = np.arange(len(rows))
        return np.where(found.indices[:, 0] == indices, found.distances[:, 1], found.distances[:, 0])

    def _features(self, images: PixelArray) -> FloatArray:
        parts = [
            self._extractor.extract(torch.from_numpy(np.array(images[start : start + BATCH]))).features
            for start in range(0, len(images), BATCH)
        ]
        return torch.cat(parts).float().numpy()


def guard_extractor(
    name: str, side: int, teacher: str | None = None, device: torch.device | str = "cpu"
) -> Extractor:
    """The extractor of a guard for images of `side` pixels: `name`, or for "auto" `pixels` up to 32 pixels,
    else the best available one other than the generator's `teacher`. Raises `WeightsError`."""
    if name == "auto":
        name = PixelCells.name if side <= PIXELS_UP_TO else choose_extractor(teacher=teacher, fast_only=True)
        return open_extractor(name, device=device, download=False)
    return open_extractor(name, device=device)
