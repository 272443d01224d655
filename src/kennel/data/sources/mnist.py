"""MNIST and Fashion-MNIST: the four idx files, compressed or not, or Kaggle's tables.

A table has one line per image: its label, then its 784 pixels. LeCun et al. 1998; Xiao et al. 2017
(arXiv 1708.07747).
"""

import warnings
from pathlib import Path

import numpy as np

from kennel.data.sources.arrays import ArrayCollection, idx_collection, idx_files
from kennel.data.sources.containers import is_archive
from kennel.data.sources.openers import Opened, Opener, Request, files_among
from kennel.errors import DataError

MAX_TABLE_BYTES = 1 << 30
"""Kaggle's have 18 to 133 MB."""

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
            return Opened(idx_collection(pairs, classes, request.scratch), used)
        rows = np.concatenate([_read_table(file) for file in tables])
        images = rows[:, 1:].reshape(-1, _SIDE, _SIDE)
        return Opened(ArrayCollection(images, rows[:, 0], classes, f"'{tables[0]}'"), used)

    return open_mnist


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
