"""CIFAR-10 as its page gives it: the binary version and the one for Python, packed or not.

Krizhevsky 2009, *Learning Multiple Layers of Features from Tiny Images*. Both versions hold the same images
in the same order, so the same packed set comes of them.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kennel.data.sources.array_collection import ArrayCollection
from kennel.data.sources.containers import Container, FolderContainer
from kennel.data.sources.openers import Opened, Request, files_among
from kennel.data.sources.restricted_pickle import read_arrays
from kennel.errors import DataError

CIFAR10_CLASSES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)
FOLDERS = ("cifar-10-batches-bin", "cifar-10-batches-py")
"""What the two archives unpack to."""

_PARTS = {"train": tuple(f"data_batch_{number}" for number in range(1, 6)), "test": ("test_batch",)}
_SIDE, _CHANNELS = 32, 3
_PIXELS = _CHANNELS * _SIDE * _SIDE

Rows = tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]
"""Pixels (N, 3072), channels first, and labels (N,)."""


def open_cifar10(request: Request) -> Opened:
    """CIFAR-10 from either archive, a zip of what is in it, the folder it unpacks to, or one that holds this.

    Where there are both versions, the binary one is read. Raises `DataError` where a part is missing or
    damaged.
    """
    source, split = request.files[0], request.options.part
    if source.is_dir():
        container = request.keep(FolderContainer(source, lambda folder: folder in FOLDERS))
    else:
        container = request.container(source)
    wanted = [part for name in ("train", "test") if split in (name, "all") for part in _PARTS[name]]
    parts = list(_rows(container, wanted, source))
    pixels = np.concatenate([part[0] for part in parts])
    labels = np.concatenate([part[1] for part in parts])
    if int(labels.max()) >= len(CIFAR10_CLASSES):
        raise DataError(f"'{source}' has labels above 9: it is not CIFAR-10")
    images = pixels.reshape(-1, _CHANNELS, _SIDE, _SIDE)
    return Opened(ArrayCollection(images, labels, CIFAR10_CLASSES), files_among(request.files))


def _rows(container: Container, wanted: list[str], source: Path) -> Iterator[Rows]:
    """The parts that are wanted, in order, all of one version."""
    members = {
        member.name.rpartition("/")[2]: member for member in container.members() if member.refusal is None
    }
    binary = all(f"{part}.bin" in members for part in wanted)
    for part in wanted:
        name = f"{part}.bin" if binary else part
        if name not in members:
            raise DataError(
                f"'{source}' has no {part}.bin, as cifar-10-binary.tar.gz has it, and no {part}, as "
                "cifar-10-python.tar.gz has it: give one of these, or the folder that it unpacks to"
            )
        try:
            content = container.read(members[name])
            yield _binary(content) if binary else _pickled(content)
        except DataError as error:
            raise DataError(f"{name} in '{source}' cannot be read ({error}): fetch it again") from error


def _binary(content: bytes) -> Rows:
    """Records of a label and the pixels."""
    if not content or len(content) % (1 + _PIXELS):
        raise DataError(f"it has {len(content):,} bytes, which are not whole records of {1 + _PIXELS:,}")
    rows = np.frombuffer(content, np.uint8).reshape(-1, 1 + _PIXELS)
    return rows[:, 1:], rows[:, 0]


def _pickled(content: bytes) -> Rows:
    """A dictionary whose `data` are the pixels and whose `labels` are numbers."""
    found = read_arrays(content)
    pixels, labels = found.get("data"), found.get("labels")
    if (
        not isinstance(pixels, np.ndarray)
        or pixels.ndim != 2
        or pixels.shape[1] != _PIXELS
        or not len(pixels)
    ):
        raise DataError(f"its data are no images of {_PIXELS:,} bytes")
    if not isinstance(labels, list) or len(labels) != len(pixels) or not all(map(_is_label, labels)):
        raise DataError("its labels are not a number from 0 to 9 for each image")
    return pixels, np.array(labels, np.uint8)


def _is_label(value: Any) -> bool:
    return type(value) is int and 0 <= value < len(CIFAR10_CLASSES)
