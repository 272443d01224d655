"""Sets of arrays: idx files (MNIST and similar sets) and scikit-learn's digits."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from kennel.data.sources.collection import Collection
from kennel.data.sources.containers import uncompressed
from kennel.data.sources.decode import Picture, Reading
from kennel.errors import DataError

_PARTS = {"train": ("train",), "test": ("t10k",), "all": ("train", "t10k")}


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
        self.images, self.labels = images, labels
        largest = int(labels.max()) if labels is not None and len(labels) else -1
        self.classes = (classes or tuple(map(str, range(largest + 1)))) if labels is not None else ()
        if largest >= len(self.classes):
            raise DataError(f"the labels of {source} go up to {largest}, of {len(self.classes)} classes")
        self.native_size = int(images.shape[-1]) if images.shape[-1] == images.shape[-2] else None

    def __len__(self) -> int:
        return len(self.images)

    def name(self, index: int) -> str:
        """`class/number`, since array images have no names."""
        return f"{self.classes[self.label(index)]}/{index}" if self.classes else str(index)

    def label(self, index: int) -> int:
        return -1 if self.labels is None else int(self.labels[index])

    def read(self, index: int) -> npt.NDArray[np.uint8]:
        return np.asarray(self.images[index])

    def header(self, content: npt.NDArray[np.uint8], max_pixels: int, name: str) -> tuple[int, int, int]:
        return int(content.shape[-1]), int(content.shape[-2]), 1

    def load(self, content: npt.NDArray[np.uint8], reading: Reading, name: str) -> Picture:
        pixels = content.transpose(1, 2, 0) if content.ndim == 3 else content
        return Picture(Image.fromarray(np.ascontiguousarray(pixels)), 1)

    def span(self, content: npt.NDArray[np.uint8], reading: Reading, name: str) -> None:
        return None


def idx_files(folder: Path, split: str = "train") -> list[tuple[Path, Path | None]]:
    """The (images, labels) files of a split by their usual names; empty if one of images is missing."""
    pairs = []
    for part in _PARTS[split]:
        images = _first_file(folder, f"{part}-images", 3)
        if images is None:
            return []
        pairs.append((images, _first_file(folder, f"{part}-labels", 1)))
    return pairs


def labels_for(images: Path) -> Path | None:
    """The labels file next to `train-images-idx3-ubyte.gz` and the like, if there is one."""
    name = images.name.removesuffix(".gz").replace("images", "labels").replace("idx3", "idx1")
    candidates = (images.with_name(name), images.with_name(f"{name}.gz"))
    return next((file for file in candidates if file.is_file() and file != images), None)


def is_idx_name(path: Path) -> bool:
    """Whether a file name ends in `-ubyte` or `-ubyte.gz`."""
    return path.name.lower().removesuffix(".gz").endswith("-ubyte")


def idx_collection(
    pairs: Sequence[tuple[Path, Path | None]], classes: tuple[str, ...] | None, scratch: Path | None
) -> ArrayCollection:
    """The images of idx files, concatenated; `classes` are the numbers if None. Raises `DataError`."""
    images, labels = [], []
    for images_file, labels_file in pairs:
        images.append(_read_idx(images_file, 3, scratch))
        if labels_file is not None:
            labels.append(_read_idx(labels_file, 1, scratch))
            if len(labels[-1]) != len(images[-1]):
                raise DataError(
                    f"'{images_file}' has {len(images[-1])} images and '{labels_file}' has "
                    f"{len(labels[-1])} labels: they do not belong together"
                )
    if len({array.shape[1:] for array in images}) > 1:
        raise DataError(f"the images of {', '.join(str(pair[0]) for pair in pairs)} differ in size")
    all_images = images[0] if len(images) == 1 else np.concatenate(images)
    all_labels = np.concatenate(labels) if len(labels) == len(images) else None
    return ArrayCollection(all_images, all_labels, classes, f"'{pairs[0][1]}'")


def digits_collection() -> ArrayCollection:
    """scikit-learn's 1,797 handwritten digits of 8x8 pixels, with levels 0..16 scaled to 0..255."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.rint(np.asarray(digits.images) * (255 / 16)).astype(np.uint8)
    return ArrayCollection(images, np.asarray(digits.target).astype(np.int64), None)


def _first_file(folder: Path, start: str, dimensions: int) -> Path | None:
    # The compressed file first, since its checksum is published. Kaggle's names have a dot.
    names = (f"{start}{dot}idx{dimensions}-ubyte{gz}" for gz in (".gz", "") for dot in "-.")
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _read_idx(path: Path, dimensions: int, scratch: Path | None) -> npt.NDArray[np.uint8]:
    """The uint8 array of an idx file, memory-mapped (a `.gz` from a nameless temporary file in `scratch`)."""
    try:
        stream: Any = uncompressed(path, scratch)
    except (OSError, EOFError) as error:
        raise DataError(f"'{path}' cannot be read ({error}): fetch it again") from error
    with stream:
        start = stream.read(4 + 4 * dimensions)
        expected = bytes((0, 0, 8, dimensions))
        if len(start) < 4 + 4 * dimensions or start[:4] != expected:
            kind = "images" if dimensions == 3 else "labels"
            raise DataError(
                f"'{path}' is not an idx file of {kind} (unsigned bytes, {dimensions} dimensions)"
            )
        shape = tuple(int(side) for side in np.frombuffer(start[4:], ">u4"))
        size = stream.seek(0, 2)
        if size != len(start) + int(np.prod(shape, dtype=np.int64)):
            raise DataError(f"'{path}' announces {shape} bytes and is cut off or longer: fetch it again")
        if 0 in shape:
            return np.zeros(shape, np.uint8)
        return np.memmap(stream, np.uint8, mode="r", offset=len(start), shape=shape)
