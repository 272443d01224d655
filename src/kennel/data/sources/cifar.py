"""CIFAR-10 as published: the binary version and the Python version, packed or unpacked.

Krizhevsky 2009, *Learning Multiple Layers of Features from Tiny Images*. Both versions have the same images
in the same order and give the same packed set.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kennel.data.sources.arrays import ArrayCollection
from kennel.data.sources.containers import Container, FolderContainer
from kennel.data.sources.openers import Opened, Request, files_among
from kennel.data.sources.restricted_pickle import read_arrays
from kennel.errors import DataError

CIFAR10_CLASSES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)
FOLDERS = ("cifar-10-batches-bin", "cifar-10-batches-py")
"""The folders in the two archives."""

_PARTS = {"train": tuple(f"data_batch_{number}" for number in range(1, 6)), "test": ("test_batch",)}
_SIDE, _CHANNELS = 32, 3
_PIXELS = _CHANNELS * _SIDE * _SIDE

Rows = tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]
"""Pixels (N, 3072), channels first, and labels (N,)."""


def open_cifar10(request: Request) -> Opened:
    """CIFAR-10 from an archive, a zip of its content, its unpacked folder, or a folder around that."""
    source, split = request.files[0], request.options.part
    if source.is_dir():
        container = request.keep(FolderContainer(source, lambda folder: folder in FOLDERS))
    else:
        container = request.container(source)
    needed = [part for name in ("train", "test") if split in (name, "all") for part in _PARTS[name]]
    parts = list(_rows(container, needed, source))
    pixels = np.concatenate([part[0] for part in parts])
    labels = np.concatenate([part[1] for part in parts])
    if int(labels.max()) >= len(CIFAR10_CLASSES):
        raise DataError(f"'{source}' has labels above 9: it is not CIFAR-10")
    images = pixels.reshape(-1, _CHANNELS, _SIDE, _SIDE)
    return Opened(ArrayCollection(images, labels, CIFAR10_CLASSES), files_among(request.files))


def _rows(container: Container, needed: list[str], source: Path) -> Iterator[Rows]:
    """The needed parts in order, all of one version."""
    members = {
        member.name.rpartition("/")[2]: member for member in container.members() if member.refusal is None
    }
    is_binary = all(f"{part}.bin" in members for part in needed)
    for part in needed:
        name = f"{part}.bin" if is_binary else part
        if name not in members:
            raise DataError(
                f"'{source}' has neither {part}.bin of cifar-10-binary.tar.gz nor {part} of "
                "cifar-10-python.tar.gz: give one of these archives, or its unpacked folder"
            )
        try:
            content = container.read(members[name])
            yield _parse_binary(content) if is_binary else _parse_pickle(content)
        except DataError as error:
            raise DataError(f"{name} in '{source}' cannot be read ({error}): fetch it again") from error


def _parse_binary(content: bytes) -> Rows:
    """Records of a label and the pixels."""
    if not content or len(content) % (1 + _PIXELS):
        raise DataError(f"its {len(content):,} bytes are not complete records of {1 + _PIXELS:,}")
    rows = np.frombuffer(content, np.uint8).reshape(-1, 1 + _PIXELS)
    return rows[:, 1:], rows[:, 0]


def _parse_pickle(content: bytes) -> Rows:
    """A dictionary with pixels as `data` and numbers as `labels`."""
    found = read_arrays(content)
    pixels, labels = found.get("data"), found.get("labels")
    if not isinstance(pixels, np.ndarray) or pixels.shape[1:] != (_PIXELS,) or not len(pixels):
        raise DataError(f"its data are not images of {_PIXELS:,} bytes")
    if not isinstance(labels, list) or len(labels) != len(pixels) or not all(map(_is_label, labels)):
        raise DataError("its labels are not a number from 0 to 9 for each image")
    return pixels, np.array(labels, np.uint8)


def _is_label(value: Any) -> bool:
    return type(value) is int and 0 <= value < len(CIFAR10_CLASSES)
