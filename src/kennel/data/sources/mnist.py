"""MNIST and Fashion-MNIST: the four idx files, packed or not, or the tables that Kaggle makes of them.

A table has a line for each image: its label, then its 784 pixels. LeCun et al. 1998; Xiao et al. 2017
(arXiv 1708.07747).
"""

import warnings
from pathlib import Path

import numpy as np

from kennel.data.sources.array_collection import ArrayCollection
from kennel.data.sources.arrays import idx_collection, idx_files
from kennel.data.sources.containers import is_archive
from kennel.data.sources.openers import Opened, Opener, Request, files_among
from kennel.errors import DataError

MAX_TABLE_BYTES = 1 << 30
"""Kaggle's have 18 to 133 MB."""

_SIDE = 28
_PARTS = {"train": ("train",), "test": ("test",), "all": ("train", "test")}


def unpacked_names(table: str) -> tuple[str, ...]:
    """What the files of a set are called that are not as they are published: unpacked idx, and Kaggle's."""
    idx = [f"{part}-{what}" for part in ("train", "t10k") for what in ("images", "labels")]
    dimensions = {"images": 3, "labels": 1}
    names = [f"{name}{dot}idx{dimensions[name[-6:]]}-ubyte" for name in idx for dot in "-."]
    dataset = [f"{name}.idx{dimensions[name[-6:]]}-ubyte.gz" for name in idx]
    return (*names, *dataset, f"{table}_train.csv", f"{table}_test.csv")


def mnist_opener(table: str, classes: tuple[str, ...] | None = None) -> Opener:
    """The opener of a set in the files of MNIST, or in tables that are called `table` and `_train.csv`.

    `classes` are the numbers where None is given.
    """

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
                f"'{source}' does not hold the {split} files of {request.name}: give a folder with the four "
                f"idx files, or with Kaggle's {table}_train.csv and {table}_test.csv"
            )
        read = [file for pair in pairs for file in pair if file is not None] + tables
        used = files_among([*request.files, *([] if is_archive(source) else read)])
        collection = idx_collection(pairs, classes, request.scratch) if pairs else _table(tables, classes)
        return Opened(collection, used)

    return open_mnist


def _from_archive(request: Request, table: str) -> Path:
    """The idx files and tables that are in a zip or tar, in a folder that is removed in the end."""
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
    """Kaggle's tables of a split; none where one is missing."""
    files = [folder / f"{table}_{part}.csv" for part in _PARTS[split]]
    return files if all(file.is_file() for file in files) else []


def _table(files: list[Path], classes: tuple[str, ...] | None) -> ArrayCollection:
    """The images and labels of tables, one after the other."""
    rows = np.concatenate([_read_table(file) for file in files])
    labels = rows[:, 0]
    names = classes or tuple(str(number) for number in range(int(labels.max()) + 1))
    if int(labels.max()) >= len(names):
        raise DataError(
            f"the labels of '{files[0]}' go to {int(labels.max())}, and there are {len(names)} classes"
        )
    return ArrayCollection(rows[:, 1:].reshape(-1, _SIDE, _SIDE), labels, names)


def _read_table(path: Path) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    """uint8 (N, 785): a label and the pixels in each row. Raises `DataError` where it is another table."""
    if path.stat().st_size > MAX_TABLE_BYTES:
        raise DataError(f"'{path}' has {path.stat().st_size:,} bytes, more than {MAX_TABLE_BYTES:,}")
    columns = 1 + _SIDE * _SIDE
    try:
        with path.open(encoding="utf-8") as stream, warnings.catch_warnings():
            warnings.simplefilter("error")  # no rows at all are a warning
            has_titles = stream.readline(1 << 16).lstrip('\ufeff"').startswith("label")
            stream.seek(0)
            rows = np.loadtxt(
                stream, np.uint8, delimiter=",", skiprows=int(has_titles), ndmin=2, comments=None
            )
    except (OSError, ValueError, OverflowError, UserWarning) as error:
        reason = str(error).splitlines()[0][:120]
        raise DataError(
            f"'{path}' is no table of a label and {columns - 1} pixels from 0 to 255 ({reason})"
        ) from error
    if rows.shape[1] != columns:
        raise DataError(
            f"'{path}' has {rows.shape[1]:,} columns, and a label and {columns - 1} pixels are {columns}"
        )
    return rows
