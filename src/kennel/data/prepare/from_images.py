"""Packs images in memory and PyTorch data sets, by default into the cache with a name by content."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from PIL import Image

import kennel
from kennel.data.dataset import ImageDataset
from kennel.data.images import PixelArray, channels_first
from kennel.data.prepare.cached import IN_MEMORY
from kennel.data.prepare.writer import PackedWriter
from kennel.data.resize import Resize
from kennel.errors import DataError
from kennel.storage.cache import cache_folder

Item = tuple[PixelArray, int]
"""An image, uint8 (C, H, W) with C 1 or 3, and its label, -1 for none."""


@runtime_checkable
class Indexed(Protocol):
    """A map-style data set of PyTorch."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


def from_array(
    images: npt.NDArray[Any], size: int | None = None, destination: Path | None = None
) -> ImageDataset:
    """The packed set of an array (N, C, H, W) of uint8, C 1 or 3. Raises `DataError` for other arrays."""
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3) or not len(images):
        raise DataError(
            f"the array is {images.dtype} of shape {images.shape}: expected uint8 (N, C, H, W), C 1 or 3"
        )
    return _packed(((image, -1) for image in images), None, size, "array", destination)


def from_dataset(dataset: Indexed, size: int | None = None, destination: Path | None = None) -> ImageDataset:
    """The packed set of a PyTorch data set, whose items are images or (image, label).

    An image is a Pillow image, or an array or tensor (C, H, W): uint8, or float in [0, 1] as from
    torchvision's `ToTensor`. Integer labels become classes, named by `dataset.classes` if that exists. All
    items are read. Raises `DataError` for items of another kind.
    """
    names = getattr(dataset, "classes", None)
    classes = [str(name) for name in names] if isinstance(names, Sequence) else None
    name = type(dataset).__name__
    return _packed(_items(dataset), classes, size, name, destination)


def _items(dataset: Indexed) -> Iterator[Item]:
    for index in range(len(dataset)):
        item = dataset[index]
        image, label = item if isinstance(item, tuple | list) and len(item) == 2 else (item, None)
        if isinstance(image, tuple | list) and len(image) == 1:  # a TensorDataset's
            image = image[0]
        yield _pixels(image, index), _label(label)


def _pixels(image: Any, index: int) -> PixelArray:
    if isinstance(image, Image.Image):
        array = np.asarray(image if image.mode == "L" else image.convert("RGB"))
        return np.ascontiguousarray(channels_first(array))
    array = np.asarray(image)
    if array.ndim == 2:
        array = array[None]
    if array.ndim == 3 and array.shape[0] in (1, 3):
        if array.dtype == np.uint8:
            return array
        if array.dtype.kind == "f" and array.size and 0 <= array.min() <= array.max() <= 1:
            pixels: PixelArray = np.rint(array * 255).astype(np.uint8)
            return pixels
    has_range = array.dtype.kind in "iuf" and array.size
    levels = f" with values {array.min():g} to {array.max():g}" if has_range else ""
    raise DataError(
        f"item {index} of the data set is {array.dtype} of shape {array.shape}{levels}: expected a Pillow "
        "image, or (C, H, W) with C 1 or 3, uint8 or float in [0, 1] (before any Normalize)"
    )


def _label(given: Any) -> int:
    """An integer from 0 on; -1 for anything else, which is not a class."""
    if isinstance(given, np.ndarray | np.generic) or hasattr(given, "item"):
        if getattr(given, "ndim", 0):
            return -1
        given = given.item()
    return given if isinstance(given, int) and not isinstance(given, bool) and given >= 0 else -1


def _packed(
    items: Iterable[Item],
    classes: Sequence[str] | None,
    size: int | None,
    name: str,
    destination: Path | None,
) -> ImageDataset:
    """Writes the items to a temporary folder, renames it (by content in the cache), and opens the set."""
    parent = cache_folder() / "prepared" if destination is None else destination.parent
    parent.mkdir(parents=True, exist_ok=True)
    if destination is not None and destination.exists() and any(destination.iterdir()):
        raise DataError(f"{destination} exists and is not empty: give another folder")
    temporary = Path(tempfile.mkdtemp(prefix=".images.", suffix=".part", dir=parent))
    temporary.chmod(0o755)
    try:
        record = _written(items, temporary, classes, size, name)
        place = destination or parent / f"images-{record['fingerprint']}"
        if destination is not None:
            with contextlib.suppress(OSError):
                destination.rmdir()  # it is empty
        if not (place / "dataset.json").is_file():
            with contextlib.suppress(OSError):  # another process was faster
                temporary.rename(place)
        return ImageDataset(place)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _written(
    items: Iterable[Item], folder: Path, classes: Sequence[str] | None, size: int | None, name: str
) -> dict[str, Any]:
    """Writes a packed set into `folder`; returns the content of its `dataset.json`."""
    writer: PackedWriter | None = None
    labels: list[int] = []
    try:
        for pixels, label in items:
            side = size or pixels.shape[2]
            if writer is None:
                writer = PackedWriter(folder, side, (), "auto")
                shape = pixels.shape[1:]
            if size is not None:
                resize = Resize(size)
                pixels = resize.pixels(pixels) if resize.changes(*pixels.shape[:0:-1]) else pixels  # noqa: PLW2901
            elif pixels.shape[1:] != shape or shape[0] != shape[1]:
                raise DataError(
                    f"the {name} has images of {shape[1]}x{shape[0]} and "
                    f"{pixels.shape[2]}x{pixels.shape[1]}: networks need squares of one size, give size=... "
                    "to crop and resize them"
                )
            writer.add(pixels, label, str(len(labels)), keep_duplicate=True)
            labels.append(label)
        if writer is None:
            raise DataError(f"the {name} has no images")
        labelled = min(labels) >= 0
        if labelled and classes is not None and max(labels) >= len(classes):
            raise DataError(f"the {name} has labels up to {max(labels)} and {len(classes)} classes")
        names = tuple(classes or map(str, range(max(labels) + 1))) if labelled else ()
        about = {"source": name, "kind": IN_MEMORY, "kennel": kennel.__version__}
        return writer.finish({"provenance": about}, names)
    finally:
        if writer is not None:
            writer.close()
