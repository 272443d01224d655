"""Packed sets made from the rows of another one, bit for bit, and exported as folders of PNGs."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import kennel
from kennel.data.dataset import ImageDataset, LabelArray
from kennel.data.image_files import SOURCE_TYPE_TEXT, SYNTHETIC, TEACHER_TEXT
from kennel.data.images import BATCH_BY_INDEX
from kennel.data.prepare.writer import PackedWriter
from kennel.errors import DataError
from kennel.images import png_bytes
from kennel.storage.atomic_io import atomic_folder
from kennel.storage.untrusted import printable

OnProgress = Callable[[int, int], None]
GENERATED = "generated"
"""The first part of the source name of an image that a generator drew."""


def names_of(dataset: ImageDataset) -> list[str]:
    """The source file of each image, from `names.txt`; numbers if the set has none."""
    file = dataset.path / "names.txt"
    lines = file.read_text(encoding="utf-8").split("\n")[:-1] if file.is_file() else []
    return lines if len(lines) == len(dataset) else [str(row) for row in range(len(dataset))]


def writer_like(dataset: ImageDataset, folder: Path) -> PackedWriter:
    """A writer of images of the set's shape and classes. Raises `DataError` if it cannot be packed."""
    channels, height, width = dataset.shape
    if height != width or channels not in (1, 3):
        raise DataError(
            f"{dataset.name} has images of {channels}x{height}x{width} (channels, height, width): expected "
            "squares in gray or color"
        )
    return PackedWriter(folder, width, dataset.classes, "grey" if channels == 1 else "rgb")


def copy_rows(writer: PackedWriter, dataset: ImageDataset, rows: Iterable[int]) -> None:
    """Appends these images with their labels and names, unchanged."""
    names, labels = names_of(dataset), dataset.labels
    for row in rows:
        label = -1 if labels is None else int(labels[row])
        writer.add(np.array(dataset.images[row]), label, names[row], keep_duplicate=True)


def subset(dataset: ImageDataset, rows: Sequence[int] | LabelArray, destination: Path) -> ImageDataset:
    """The packed set of these images of `dataset`, in this order; replaces an older one at `destination`."""
    with atomic_folder(destination) as folder:
        writer = writer_like(dataset, folder)
        try:
            copy_rows(writer, dataset, map(int, rows))
            origin = {"path": str(dataset.path), "fingerprint": dataset.fingerprint, "count": len(dataset)}
            about: dict[str, Any] = {
                "source": str(dataset.path),
                "kind": "some images of a packed set",
                "kennel": kennel.__version__,
                "of": origin,
            }
            writer.finish({"provenance": about})
        finally:
            writer.close()
    return ImageDataset(destination)


def export(dataset: ImageDataset, destination: Path, on_progress: OnProgress | None = None) -> int:
    """Writes a folder of PNGs, one folder for each class; returns the number of files.

    Names are `real-000012.png` and `generated-000345.png`, with the image's number in the set. The text of
    generated images says what they are. Raises `DataError` if `destination` exists and is not empty.
    """
    if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
        raise DataError(f"{destination} exists and is not empty: give another folder")
    folders = class_folders(dataset.classes)
    names = names_of(dataset)
    text = _generated_text(dataset)
    with atomic_folder(destination) as folder:
        for name in folders:
            (folder / name).mkdir()
        for start in range(0, len(dataset), BATCH_BY_INDEX):
            rows = range(start, min(start + BATCH_BY_INDEX, len(dataset)))
            for row, image in zip(rows, np.array(dataset.images[rows.start : rows.stop]), strict=True):
                drawn = dataset.generated is not None and bool(dataset.generated[row])
                place = folder if dataset.labels is None else folder / folders[int(dataset.labels[row])]
                file = place / f"{GENERATED if drawn else 'real'}-{row:06}.png"
                own = {**text, "kennel:source": printable(names[row])} if drawn else {}
                file.write_bytes(png_bytes(image, own))
            if on_progress is not None:
                on_progress(rows.stop, len(dataset))
    return len(dataset)


def _generated_text(dataset: ImageDataset) -> dict[str, str]:
    """PNG text of generated images, as `kennel sample` writes it."""
    about = dataset.about.get("generated") or {}
    teacher = {TEACHER_TEXT: str(about["teacher"])} if about.get("teacher") else {}
    return {
        "Software": f"kennel {kennel.__version__}",
        "Description": "An image made by a generative adversarial network; not a photograph",
        SOURCE_TYPE_TEXT: SYNTHETIC,
        "kennel:run": str(about.get("generator_fingerprint", "")),
        **teacher,
    }


def class_folders(classes: Sequence[str]) -> list[str]:
    """A name for the folder of each class; those that no folder can have become numbers."""
    numbers = len(str(len(classes)))
    return [
        name if name not in (".", "..") and "/" not in name and "\\" not in name and name == printable(name)
        else f"class-{label:0{numbers}}"
        for label, name in enumerate(classes)
    ]  # fmt: skip
