"""Writes a packed set image by image; only labels and counts are kept in memory."""

import json
import struct
from array import array
from collections import Counter
from pathlib import Path
from typing import IO, Any

import numpy as np

from kennel.data.dataset import FORMAT, LabelArray, set_fingerprint
from kennel.data.images import PixelArray
from kennel.data.sources.compact_index import SeenPixels

_HEADER_BYTES = 128
_ROWS_AT_ONCE = 1024
_EXAMPLES = 20  # kept for each reason

NO_IMAGE = "not an image"

ASPECT_EDGES = [edge / 20 for edge in range(81)]
"""Histogram bins of width / height: 0 to 4 in steps of 0.05; the last also has wider images."""


class DropReport:
    """Counts dropped images by reason, keeps some examples, and writes all names to a file."""

    def __init__(self, file: Path | None) -> None:
        """`file` gets a line of JSON for each dropped image; None keeps only the examples."""
        self.dropped: Counter[str] = Counter()
        self.examples: dict[str, list[dict[str, str]]] = {}
        self.aspects_before = [0] * (len(ASPECT_EDGES) - 1)
        self.aspects_after = [0] * (len(ASPECT_EDGES) - 1)
        self.kept = 0
        self.remarks: Counter[str] = Counter()  # the kept images with each remark; see `Picture.remarks`
        self._file: IO[str] | None = file.open("w", encoding="utf-8") if file else None

    def drop(self, name: str, reason: str, detail: str) -> None:
        self.dropped[reason] += 1
        examples = self.examples.setdefault(reason, [])
        if len(examples) < _EXAMPLES:
            examples.append({"name": name, "detail": detail})
        self._write(name, reason, detail)

    def ignore(self, name: str) -> None:
        """Records a file that does not have the name of an image."""
        self._write(name, NO_IMAGE, "its suffix is not that of an image")

    def _write(self, name: str, reason: str, detail: str) -> None:
        if self._file:
            entry = {"reason": reason, "name": name, "detail": detail}
            self._file.write(json.dumps(entry, ensure_ascii=False) + "\n")

    def measure(self, width: int, height: int, *, kept: bool) -> None:
        """Counts an image in the histograms of width / height, if its size is known."""
        if width > 0 and height > 0:
            index = min(width * 20 // height, len(self.aspects_before) - 1)
            self.aspects_before[index] += 1
            self.aspects_after[index] += kept

    @property
    def seen(self) -> int:
        return self.kept + self.dropped.total()

    def close(self) -> None:
        if self._file:
            self._file.close()

    def to_json(self) -> dict[str, Any]:
        return {
            "seen": self.seen,
            "kept": self.kept,
            "dropped": dict(self.dropped.most_common()),
            "examples": self.examples,
            "aspect": {"edges": ASPECT_EDGES, "before": self.aspects_before, "after": self.aspects_after},
        }


class PackedWriter:
    """Writes images.npy, labels.npy, names.txt and dataset.json into a folder."""

    def __init__(self, folder: Path, size: int, classes: tuple[str, ...], color: str) -> None:
        """Images are (C, size, size); `color` is "rgb", "grey" or "auto" (gray if every image is)."""
        self._folder = folder
        self._size = size
        self._classes = classes
        self._auto = color == "auto"
        self._channels = 1 if color == "grey" else 3
        self._all_gray = True
        self._labels = array("q")
        self._seen = SeenPixels()
        self._images: IO[bytes] = (folder / "images.npy").open("wb+")
        self._images.write(bytes(_HEADER_BYTES))
        self._names = (folder / "names.txt").open("w", encoding="utf-8")

    def __len__(self) -> int:
        return len(self._labels)

    def add(self, pixels: PixelArray, label: int, name: str, *, keep_duplicate: bool) -> bool:
        """Appends one image (1 or 3, size, size); returns False for a duplicate."""
        if self._channels == 3 and pixels.shape[0] == 1:
            pixels = np.repeat(pixels, 3, axis=0)
        elif self._auto and self._all_gray:
            self._all_gray = bool((pixels[0] == pixels[1]).all() and (pixels[0] == pixels[2]).all())
        content = pixels.tobytes()
        if not keep_duplicate and not self._seen.add(content):
            return False
        self._images.write(content)
        self._labels.append(label)
        self._names.write(name + "\n")
        return True

    def finish(self, about: dict[str, Any], classes: tuple[str, ...] | None = None) -> dict[str, Any]:
        """Completes the folder; returns dataset.json with `about`. `classes` are names not known before."""
        self._classes = self._classes if classes is None else classes
        self._names.close()
        if self._auto and self._all_gray:
            self._take_one_channel()
        shape = (len(self), self._channels, self._size, self._size)
        self._images.seek(0)
        self._images.write(_npy_header(shape))
        self._images.close()
        labels, counts = self._write_labels()
        images = np.load(self._folder / "images.npy", mmap_mode="r")
        record = {
            "format": FORMAT,
            "count": len(self),
            "channels": self._channels,
            "size": self._size,
            "classes": list(counts),
            "class_counts": list(counts.values()),
            "fingerprint": set_fingerprint(images, labels, tuple(counts)),
            **about,
        }
        text = json.dumps(record, indent=1, ensure_ascii=False)
        (self._folder / "dataset.json").write_text(text + "\n", encoding="utf-8")
        return record

    def close(self) -> None:
        self._images.close()
        self._names.close()

    def _write_labels(self) -> tuple[LabelArray | None, dict[str, int]]:
        """Writes labels.npy; returns the labels and each class's count, without empty classes."""
        if not self._classes:
            return None, {}
        labels = np.frombuffer(self._labels, np.int64)
        every = np.bincount(labels, minlength=len(self._classes))
        labels = (np.cumsum(every > 0) - 1)[labels].astype(np.int64)
        np.save(self._folder / "labels.npy", labels)
        counts = {name: int(count) for name, count in zip(self._classes, every, strict=True) if count}
        return labels, counts

    def _take_one_channel(self) -> None:
        """Rewrites the file in place with the first of three equal channels; data only move forward."""
        plane = self._size * self._size
        for start in range(0, len(self), _ROWS_AT_ONCE):
            rows = min(_ROWS_AT_ONCE, len(self) - start)
            self._images.seek(_HEADER_BYTES + start * 3 * plane)
            pixels = np.frombuffer(self._images.read(rows * 3 * plane), np.uint8).reshape(rows, 3, plane)
            self._images.seek(_HEADER_BYTES + start * plane)
            self._images.write(pixels[:, 0].tobytes())
        self._images.truncate(_HEADER_BYTES + len(self) * plane)
        self._channels = 1


def _npy_header(shape: tuple[int, int, int, int]) -> bytes:
    """The header of a uint8 `.npy` file (version 1.0), padded to a fixed size to be written last."""
    about = repr({"descr": "|u1", "fortran_order": False, "shape": shape})
    start = b"\x93NUMPY\x01\x00" + struct.pack("<H", _HEADER_BYTES - 10)
    return start + about.ljust(_HEADER_BYTES - 11).encode("ascii") + b"\n"
