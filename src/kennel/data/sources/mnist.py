"""MNIST and Fashion-MNIST: the four idx files, compressed or not, or Kaggle's tables; Stacked MNIST.

A table has one line per image: its label, then its 784 pixels. LeCun et al. 1998; Xiao et al. 2017
(arXiv 1708.07747).
"""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kennel.data.sources.arrays import ArrayCollection, idx_collection, idx_files
from kennel.data.sources.containers import is_archive
from kennel.data.sources.openers import Opened, Opener, Request, files_among
from kennel.errors import DataError

MAX_TABLE_BYTES = 1 << 30
"""Kaggle's have 18 to 133 MB."""

STACKED_IMAGES = {"train": 128_000, "test": 26_000, "all": 154_000}
"""How many images of Stacked MNIST are drawn; PacGAN (Lin et al. 2018) trains on 128,000 and counts modes in
26,000 samples."""

_SIDE = 28
_PARTS = {"train": ("train",), "test": ("test",), "all": ("train", "test")}


def unpacked_names(table: str) -> tuple[str, ...]:
    """File names of a set other than the published ones: uncompressed idx files, and Kaggle's."""
    kinds = ("images", 3), ("labels", 1)
    stems = [(f"{part}-{kind}", dimensions) for part in ("train", "t10k") for kind, dimensions in kinds]
    idx = [f"{stem}{dot}idx{dimensions}-ubyte" for stem, dimensions in stems for dot in "-."]
    compressed = [f"{stem}.idx{dimensions}-ubyte.gz" for stem, dimensions in stems]
    return (*idx, *compressed, f"{table}_train.csv", f"{table}_test.csv")


def mnist_opener(table: str, classes: tuple[str, ...] | None = None) -> Opener:
    """Opens idx files, or tables named `table` and `_train.csv`; `classes` are the numbers if None."""

    def open_mnist(request: Request) -> Opened:
        collection, files = _read(request, table, classes)
        return Opened(collection, files)

    return open_mnist


def stacked_opener(table: str) -> Opener:
    """Opens the files of `mnist_opener(table)` as a `StackedCollection`, drawn by `--seed`."""

    def open_stacked(request: Request) -> Opened:
        single, files = _read(request, table, None)
        options = request.options
        if single.labels is None:
            raise DataError(f"{request.name} is stacked from labeled images: add the labels' files")
        count = STACKED_IMAGES[options.part]
        return Opened(StackedCollection(single.images, single.labels, count, options.seed), files)

    return open_stacked


class StackedCollection(ArrayCollection):
    """Images of three gray images each, as red, green and blue: as many modes as triples of classes.

    Which three is drawn with replacement by `seed`, independently for each channel; the class is the triple.
    Stacked MNIST of Metz et al. 2017 (arXiv 1611.02163), section 3.3.1.
    """

    def __init__(
        self, images: npt.NDArray[np.uint8], labels: npt.NDArray[np.integer[Any]], count: int, seed: int
    ) -> None:
        """`images` (N, H, W) with `labels` (N,) from 0 to 9; `count` stacked images are drawn."""
        self._triples = np.random.default_rng(seed).integers(0, len(images), (count, 3))
        stacked = np.asarray(labels).astype(np.int64)[self._triples] @ np.array([100, 10, 1])
        names = tuple(f"{number:03d}" for number in range(1_000))
        super().__init__(images, stacked, names, "the stacked set")

    def __len__(self) -> int:
        return len(self._triples)

    def read(self, index: int) -> npt.NDArray[np.uint8]:
        return np.stack([self.images[one] for one in self._triples[index]])


def _read(
    request: Request, table: str, classes: tuple[str, ...] | None
) -> tuple[ArrayCollection, dict[str, Path]]:
    """The set, and its files by the names to record."""
    source, split = request.files[0], request.options.part
    if is_archive(source):
        folder = _from_archive(request, table)
    else:
        folder = source if source.is_dir() else source.parent
    pairs = idx_files(folder, split)
    tables = [] if pairs else _tables(folder, table, split)
    if not pairs and not tables:
        raise DataError(
            f"'{source}' does not have the {split} files of {request.name}: give a folder with the four "
            f"idx files, or with Kaggle's {table}_train.csv and {table}_test.csv"
        )
    read = [file for pair in pairs for file in pair if file is not None] + tables
    used = files_among([*request.files, *([] if is_archive(source) else read)])
    if pairs:
        return idx_collection(pairs, classes, request.scratch), used
    rows = np.concatenate([_read_table(file) for file in tables])
    images = rows[:, 1:].reshape(-1, _SIDE, _SIDE)
    return ArrayCollection(images, rows[:, 0], classes, f"'{tables[0]}'"), used


def _from_archive(request: Request, table: str) -> Path:
    """A temporary folder with the idx files and tables of a zip or tar."""
    container = request.container(request.files[0])
    names = set(unpacked_names(table))
    names |= {f"{name}.gz" for name in names if name.endswith("-ubyte")}
    folder = request.folder()
    for member in container.members():
        name = member.name.rpartition("/")[2]
        if member.refusal is None and name in names:
            (folder / name).write_bytes(container.read(member))
    return folder


def _tables(folder: Path, table: str, split: str) -> list[Path]:
    files = [folder / f"{table}_{part}.csv" for part in _PARTS[split]]
    return files if all(file.is_file() for file in files) else []


def _read_table(path: Path) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    """uint8 (N, 785): a label and the pixels in each row. Raises `DataError` for another table."""
    if path.stat().st_size > MAX_TABLE_BYTES:
        raise DataError(f"'{path}' has {path.stat().st_size:,} bytes, more than {MAX_TABLE_BYTES:,}")
    columns = 1 + _SIDE * _SIDE
    try:
        with path.open(encoding="utf-8") as stream, warnings.catch_warnings():
            warnings.simplefilter("error")  # NumPy only warns about a table without rows
            has_titles = stream.readline(1 << 16).lstrip('\ufeff"').startswith("label")
            stream.seek(0)
            rows = np.loadtxt(
                stream, np.uint8, delimiter=",", skiprows=int(has_titles), ndmin=2, comments=None
            )
    except (OSError, ValueError, OverflowError, UserWarning) as error:
        reason = str(error).splitlines()[0][:120]
        raise DataError(
            f"'{path}' is not a table of a label and {columns - 1} pixels from 0 to 255 ({reason})"
        ) from error
    if rows.shape[1] != columns:
        raise DataError(
            f"'{path}' has {rows.shape[1]:,} columns, expected a label and {columns - 1} pixels: {columns}"
        )
    return rows
