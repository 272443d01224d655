"""Recognizes generated images that are nearer to a training image than training images are to one another."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from kennel.data.images import ArrayImages, ImageSource, PixelArray, read_rows
from kennel.errors import JudgementError
from kennel.evaluation.metrics._nearest import Neighbors, nearest
from kennel.features.base import Extractor
from kennel.features.extract import BATCH, choose_rows, extract_rows
from kennel.features.factory import choose_extractor, open_extractor
from kennel.features.moments import Float64Array, FloatArray, IndexArray
from kennel.features.pixels import PixelCells

QUANTILE = 0.01
"""The share of real images that are as near to another one as a copy may be."""
PIXELS_UP_TO = 32
"""Images of at most this side are compared by their pixels: networks trained on photographs see little in
them, and take a hundred times as long."""
RATIO_NEIGHBOR = 3
"""The distance to the nearest training image is divided by that to the third: duplicates in a training set
are memorized first, and are each other's second neighbor."""


@dataclass(frozen=True)
class Match:
    """The nearest training image of each image: `distances` float64 (N,), `training` int64 (N,), whether
    the image was `mirrored` for it, bool (N,), and `ratios` float64 (N,) of the distance to that to the third
    nearest (1 where a set has no third, 0 for an exact copy)."""

    distances: Float64Array
    ratios: Float64Array
    training: IndexArray
    mirrored: np.ndarray


class CopyGuard:
    """Compares images with the nearest of some training images, mirrored or not.

    Distances are Euclidean, of the features of an extractor. An image is a copy if it is at most as far from
    its nearest training image as the nearest `quantile` of the training images are from their nearest other
    one (`threshold`; images that have an equal one do not count). So of new real images about this share
    would be refused.

    A blurred image is near to many training images, a memorized one to one only. `ratio_threshold` is the
    same quantile of the ratio of the distances to the nearest and the third nearest training image (as in
    the ratio test of Lowe 2004, section 7.1); `nearness` compares an image with both thresholds.
    """

    def __init__(
        self,
        training: PixelArray | ImageSource,
        extractor: Extractor,
        *,
        quantile: float = QUANTILE,
        probes: int | None = None,
        device: torch.device | str = "cpu",
        on_progress: Callable[[int, int], None] | None = None,
    ) -> None:
        """`training`: uint8 (N, C, H, W), or a set; all of one class. The thresholds are those of `probes`
        random images (default: all); `on_progress` gets the training images seen so far. Raises
        `JudgementError` for fewer than 2 images, and for a quantile outside of (0, 1)."""
        if len(training) < 2:
            raise JudgementError(f"{len(training)} training images are too few to recognize copies: give 2")
        if not 0 < quantile < 1:
            raise JudgementError(f"the quantile of copies is {quantile:g}: give one between 0 and 1")
        source = ArrayImages(training) if isinstance(training, np.ndarray) else training
        self._extractor, self._device = extractor, device
        self._training = extract_rows(source, extractor, on_progress=on_progress).features
        count = len(source)
        rows = choose_rows(count, min(probes or count, count), 0)
        rows = np.arange(count) if rows is None else rows
        own = self._match(read_rows(source, rows), rows)
        distinct = own.distances > 0
        self.threshold = self.ratio_threshold = 0.0
        if distinct.any():
            self.threshold = float(np.quantile(own.distances[distinct], quantile))
            self.ratio_threshold = float(np.quantile(own.ratios[distinct], quantile))
        self.real_share = float((self.nearness(own)[distinct] <= 1).mean()) if distinct.any() else 0.0
        """The share of the training images (without those that have an equal one) below both thresholds."""

    def match(self, images: PixelArray) -> Match:
        """The nearest training image of each image (N, C, H, W)."""
        return self._match(images)

    def distances(self, images: PixelArray) -> Float64Array:
        """The distance of each image (N, C, H, W) to its nearest training image, float64 (N,)."""
        return self.match(images).distances

    def copies(self, images: PixelArray) -> np.ndarray:
        """Which images are copies, bool (N,)."""
        return np.asarray(self.distances(images) <= self.threshold)

    def nearness(self, match: Match) -> Float64Array:
        """The larger of the distance and the ratio, each divided by its threshold, float64 (N,): up to 1 for
        images as near to one training image, and as much nearer to it than to others, as the nearest real
        ones are."""
        return np.maximum(
            _relative(match.distances, self.threshold), _relative(match.ratios, self.ratio_threshold)
        )

    def _match(self, images: PixelArray, rows: IndexArray | None = None) -> Match:
        """Of training images themselves, `rows` are their indices, and not their own neighbors."""
        wanted = min(RATIO_NEIGHBOR + (rows is not None), len(self._training))
        sides = [
            self._others(nearest(self._features(side), self._training, wanted, device=self._device), rows)
            for side in (images, images[..., ::-1])
        ]
        distances = np.stack([side.distances for side in sides], 1)  # (N, 2, neighbors)
        indices = np.stack([side.indices for side in sides], 1)
        first = distances[:, :, 0]
        side = first.argmin(1)
        here = np.arange(len(images))
        nearest_distance, third = first[here, side], distances[here, side, -1]
        if distances.shape[2] < RATIO_NEIGHBOR:
            third = nearest_distance
        ratios = np.divide(nearest_distance, third, out=np.zeros_like(third), where=nearest_distance > 0)
        return Match(nearest_distance, ratios, indices[here, side, 0], side == 1)

    @staticmethod
    def _others(found: Neighbors, rows: IndexArray | None) -> Neighbors:
        """Without row i among the neighbors of image i; its last one where it is not among them."""
        if rows is None:
            return found
        keep = found.indices != rows[:, None]
        keep[keep.all(1), -1] = False
        shape = (len(rows), found.indices.shape[1] - 1)
        return Neighbors(found.distances[keep].reshape(shape), found.indices[keep].reshape(shape))

    def _features(self, images: PixelArray) -> FloatArray:
        parts = [
            self._extractor.extract(torch.from_numpy(np.array(images[start : start + BATCH]))).features
            for start in range(0, len(images), BATCH)
        ]
        return torch.cat(parts).float().numpy()


def _relative(values: Float64Array, threshold: float) -> Float64Array:
    """Values in units of a threshold; with a threshold of 0, 0 stays 0 and all others are infinite."""
    if threshold > 0:
        return values / threshold
    return np.where(values > 0, np.inf, 0.0)


def guard_extractor(
    name: str, side: int, teacher: str | None = None, device: torch.device | str = "cpu"
) -> Extractor:
    """The extractor of a guard for images of `side` pixels: `name`, or for "auto" `pixels` up to 32 pixels,
    else the best available one other than the generator's `teacher`. Raises `WeightsError`."""
    if name == "auto":
        name = PixelCells.name if side <= PIXELS_UP_TO else choose_extractor(teacher=teacher, fast_only=True)
        return open_extractor(name, device=device, download=False)
    return open_extractor(name, device=device)
