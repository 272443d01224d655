"""The packed set: a folder with `images.npy`, `labels.npy` where there are classes, and `dataset.json`.

Pixels are uint8 (N, C, H, W) and memory-mapped, so that a set larger than memory opens at once.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kennel.data.image_set import PixelArray, batch_starts
from kennel.errors import DataError

FORMAT = 1
LabelArray = npt.NDArray[np.int64]


def _about(file: Path) -> dict[str, Any]:
    """What a `dataset.json` says; `DataError` where it is cut off, no JSON, or lacks what a set must say."""
    try:
        about: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        if about.get("format") == FORMAT:
            int(about["count"])
            str(about["fingerprint"])
            tuple(about["classes"])
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
        raise DataError(f"{file} is damaged: prepare the set again") from None
    return about


class PackedSet:
    """An opened packed set; an `ImageSet`.

    Attributes: `path`; `images` uint8 (N, C, H, W), memory-mapped; `labels` int64 (N,) or None; `about`, the
    content of `dataset.json`. Opening raises `DataError` where the folder is not a packed set or its parts
    contradict one another.
    """

    def __init__(self, path: Path | str) -> None:
        """Opens the packed set at `path`."""
        self.path = Path(path)
        about_file = self.path / "dataset.json"
        if not about_file.is_file():
            there = self.path.is_file() or (self.path.is_dir() and any(self.path.iterdir()))
            way = f"{self.path} DEST`, and give DEST" if there else f"SOURCE {self.path}`"
            raise DataError(
                f"{self.path} is not a packed set (it has no dataset.json): "
                f"make one with `kennel data prepare {way}"
            )
        self.about: dict[str, Any] = _about(about_file)
        if self.about.get("format") != FORMAT:
            raise DataError(
                f"{self.path} has packed format {self.about.get('format')}, this kennel reads {FORMAT}: "
                "prepare it again"
            )
        self.images: PixelArray = self._load("images.npy")
        labels_file = self.path / "labels.npy"
        self.labels: LabelArray | None = self._load("labels.npy") if labels_file.is_file() else None
        if self.images.ndim != 4 or self.images.dtype != np.uint8 or len(self.images) != self.about["count"]:
            raise DataError(
                f"{self.path / 'images.npy'} does not hold the {self.about['count']} images of dataset.json: "
                "the set is damaged, prepare it again"
            )
        if self.labels is not None and len(self.labels) != len(self.images):
            raise DataError(
                f"{self.path} has {len(self.images)} images and {len(self.labels)} labels: prepare it again"
            )

    def _load(self, name: str) -> npt.NDArray[Any]:
        try:
            array: npt.NDArray[Any] = np.load(self.path / name, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise DataError(f"{self.path / name} cannot be read ({error}): prepare the set again") from error
        return array

    @property
    def name(self) -> str:
        """The folder as it was given."""
        return str(self.path)

    @property
    def fingerprint(self) -> str:
        """The digest of pixels, labels and class names that `dataset.json` carries."""
        return str(self.about["fingerprint"])

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes by label; empty where the set has none."""
        return tuple(self.about.get("classes", ()))

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        channels, height, width = self.images.shape[1:]
        return int(channels), int(height), int(width)

    def __len__(self) -> int:
        return len(self.images)

    def at(self, rows: LabelArray) -> PixelArray:
        """The images at these indices, copied out of the map."""
        return np.array(self.images[rows])

    def batches(self, size: int, first: int = 0, step: int = 1) -> Iterator[PixelArray]:
        """Images in order, `size` at a time, copied out of the map; see `ImageSet.batches`."""
        for start in batch_starts(len(self), size, first, step):
            yield np.array(self.images[start : start + size])


def set_fingerprint(images: PixelArray, labels: LabelArray | None, classes: tuple[str, ...] = ()) -> str:
    """BLAKE2b over the shape, the pixels, the labels and the class names, read 64 MiB at a time."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(repr((images.shape, classes)).encode())
    step = max(1, (64 << 20) // max(1, int(np.prod(images.shape[1:]))))
    for start in range(0, len(images), step):
        digest.update(np.ascontiguousarray(images[start : start + step]).data)
    if labels is not None:
        digest.update(np.ascontiguousarray(labels).data)
    return digest.hexdigest()
