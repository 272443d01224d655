"""The packed set: a folder with `images.npy`, `dataset.json` and, if there are classes, `labels.npy`.

A set of `kennel expand` also has `generated.npy`, which marks the images that a generator drew.

Pixels are uint8 (N, C, H, W) and memory-mapped, so a set larger than memory opens immediately.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from kennel.config.base import sentence
from kennel.data.images import PixelArray, batch_starts
from kennel.data.sources.npy import open_npy
from kennel.errors import DataError
from kennel.storage.untrusted import UntrustedError, read_json

FORMAT = 1
CHECKED_BYTES, SAMPLED_BYTES = 256 << 20, 16 << 20
"""Before training, sets of up to `CHECKED_BYTES` of pixels are verified completely (in less than a second);
of larger sets `SAMPLED_BYTES`, since a slow disk seeks for each image."""
CHECKED_LABELS = 1_000_000
LabelArray = npt.NDArray[np.int64]
MaskArray = npt.NDArray[np.bool_]

Count: TypeAlias = Annotated[int, Field(ge=0, lt=1 << 48, strict=True)]


class _Loose(BaseModel):
    """A part of `dataset.json`. Unknown keys are accepted."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)


class _Example(_Loose):
    name: str
    detail: str


class _Aspect(_Loose):
    edges: list[float] = Field(min_length=2, max_length=1_000)
    before: list[Count]
    after: list[Count]

    @model_validator(mode="after")
    def _check_bins(self) -> "_Aspect":
        if not len(self.edges) - 1 == len(self.before) == len(self.after):
            raise ValueError("not as many counts as bins")
        return self


class _Report(_Loose):
    seen: Count
    kept: Count
    dropped: dict[str, Count]
    examples: dict[str, Annotated[list[_Example], Field(min_length=1)]]
    notes: list[str] = []
    aspect: _Aspect | None = None

    @model_validator(mode="after")
    def _check_examples(self) -> "_Report":
        if not self.dropped.keys() <= self.examples.keys() or self.seen < 1:
            raise ValueError("reasons without examples")
        return self


class _Generated(_Loose):
    """What `kennel expand` added: the number of images, also of each class, and what drew them."""

    count: Count
    class_counts: list[Count]
    generator: str


class _About(_Loose):
    count: Annotated[int, Field(ge=1, lt=1 << 48, strict=True)]
    fingerprint: str = Field(min_length=1, max_length=200)
    classes: list[str]
    class_counts: list[Count] | None = None
    report: _Report | None = None
    generated: _Generated | None = None

    @model_validator(mode="after")
    def _check_counts(self) -> "_About":
        if self.generated is not None and len(self.generated.class_counts) != len(self.classes):
            raise ValueError("not as many counts of generated images as classes")
        if self.class_counts is not None and len(self.class_counts) != len(self.classes):
            raise ValueError("not as many counts as classes")
        return self


def _read_about(file: Path) -> dict[str, Any]:
    try:
        about = read_json(file)
        if not isinstance(about, dict):
            raise UntrustedError("it is not a mapping")
        if about.get("format") == FORMAT:
            _About.model_validate(about)
    except (ValidationError, UntrustedError) as error:
        reason = sentence(error, "it") if isinstance(error, ValidationError) else error
        raise DataError(f"{file} is damaged: prepare the set again ({reason})") from None
    return about


class ImageDataset:
    """An opened packed set; an `ImageSource`.

    Attributes: `path`; `images` uint8 (N, C, H, W), memory-mapped; `labels` int64 (N,) or None; `classes`,
    the class names by label; `generated` bool (N,), which images a generator drew, or None if all are real;
    `about`, the content of `dataset.json`; `fingerprint`, its digest of pixels, labels and class names.
    Raises `DataError` if the folder is not a packed set or its files disagree.
    """

    def __init__(self, path: Path | str) -> None:
        self.path, self.name = Path(path), str(Path(path))
        about_file = self.path / "dataset.json"
        if not about_file.is_file():
            exists = self.path.is_file() or (self.path.is_dir() and any(self.path.iterdir()))
            arguments = f"{self.path} DEST`, and give DEST" if exists else f"SOURCE {self.path}`"
            raise DataError(
                f"{self.path} is not a packed set (it has no dataset.json): "
                f"make one with `kennel data prepare {arguments}"
            )
        self.about: dict[str, Any] = _read_about(about_file)
        if self.about.get("format") != FORMAT:
            raise DataError(
                f"{self.path} has packed format {self.about.get('format')}, this kennel reads {FORMAT}: "
                "prepare it again"
            )
        self.fingerprint = str(self.about["fingerprint"])
        self.classes: tuple[str, ...] = tuple(self.about.get("classes", ()))
        self.images: PixelArray = self._load("images.npy")
        labels_file = self.path / "labels.npy"
        self.labels: LabelArray | None = self._load("labels.npy") if labels_file.is_file() else None
        self.generated: MaskArray | None = None
        if self.about.get("generated"):
            self.generated = self._load("generated.npy")
        self._check_images()
        self._check_labels()
        self._check_generated()

    def _check_images(self) -> None:
        images = self.images
        if images.ndim != 4 or images.dtype != np.uint8 or len(images) != self.about["count"]:
            raise DataError(
                f"{self.path / 'images.npy'} does not hold the {self.about['count']} images of dataset.json: "
                "the set is damaged, prepare it again"
            )
        if self.shape[0] not in (1, 2, 3) or 0 in self.shape:
            raise DataError(
                f"{self.path / 'images.npy'} holds images of {images.shape[1:]} (channels, height, width): "
                "expected 1 channel or 3, and sides of 1 or more; prepare the set again"
            )

    def _check_labels(self) -> None:
        labels = self.labels
        if labels is None:
            return
        if labels.ndim != 1 or labels.dtype != np.int64:
            raise DataError(
                f"{self.path / 'labels.npy'} holds {labels.dtype} of shape {labels.shape}: expected int64, "
                "one per image; prepare the set again"
            )
        if len(labels) != len(self):
            raise DataError(f"{self.path} has {len(self)} images and {len(labels)} labels: prepare it again")
        # Larger files are checked when `BatchLoader` reads them.
        if len(labels) <= CHECKED_LABELS and (labels.min() < 0 or labels.max() >= len(self.classes)):
            raise DataError(
                f"{self.path / 'labels.npy'} has labels from {labels.min()} to {labels.max()}, beyond its "
                f"{len(self.classes)} classes: prepare the set again"
            )

    def _check_generated(self) -> None:
        marks = self.generated
        if marks is None:
            return
        count = self.about["generated"]["count"]
        if marks.shape != (len(self),) or marks.dtype != np.bool_ or int(marks.sum()) != count:
            raise DataError(
                f"{self.path / 'generated.npy'} does not mark the {count:,} generated images of "
                "dataset.json: expand the set again"
            )

    def _load(self, name: str) -> npt.NDArray[Any]:
        try:
            array = open_npy(self.path / name)
        except (OSError, ValueError) as error:
            raise DataError(f"{self.path / name} cannot be read ({error}): prepare the set again") from error
        return array

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        channels, height, width = self.images.shape[1:]
        return int(channels), int(height), int(width)

    @property
    def generated_count(self) -> int:
        """The number of images that a generator drew."""
        return 0 if self.generated is None else int(self.about["generated"]["count"])

    def __len__(self) -> int:
        return len(self.images)

    def at(self, rows: LabelArray) -> PixelArray:
        """The images at these indices, copied from the file."""
        return np.array(self.images[rows])

    def batches(self, size: int, first: int = 0, step: int = 1) -> Iterator[PixelArray]:
        """Images in order, `size` at a time, copied from the file; see `ImageSource.batches`."""
        for start in batch_starts(len(self), size, first, step):
            yield np.array(self.images[start : start + size])

    def pixel_digest(self) -> str:
        """A digest of shape, labels and pixels; of a large set `SAMPLED_BYTES` of pixels, evenly."""
        row_bytes = int(np.prod(self.shape))
        whole = self.images.nbytes <= CHECKED_BYTES
        count = len(self) if whole else min(len(self), max(2, SAMPLED_BYTES // row_bytes))
        rows = np.linspace(0, len(self) - 1, count).astype(np.int64)
        digest = hashlib.blake2b(repr(self.images.shape).encode(), digest_size=16)
        step = max(1, (16 << 20) // row_bytes)
        for start in range(0, count, step):
            digest.update(np.ascontiguousarray(self.images[rows[start : start + step]]).data)
        if self.labels is not None:
            digest.update(np.ascontiguousarray(self.labels).data)
        return digest.hexdigest()

    def refuse_changed(self, digest: str) -> None:
        """Raises `DataError` if `pixel_digest` differs from `digest`."""
        if self.pixel_digest() != digest:
            raise DataError(
                f"the pixels or labels of {self.path} have changed since the run began, although its "
                "dataset.json has not: restore the set, or give another --out"
            )

    def refuse_other_pixels(self) -> None:
        """Raises `DataError` if pixels do not match `dataset.json`; skips sets above `CHECKED_BYTES`."""
        if self.images.nbytes > CHECKED_BYTES:
            return
        if set_fingerprint(self.images, self.labels, self.classes) != self.fingerprint:
            raise DataError(
                f"the pixels, labels or classes of {self.path} do not match its dataset.json: prepare the "
                "set again"
            )


def set_fingerprint(images: PixelArray, labels: LabelArray | None, classes: tuple[str, ...] = ()) -> str:
    """BLAKE2b over shape, class names, pixels and labels, read 64 MiB at a time."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(repr((images.shape, classes)).encode())
    step = max(1, (64 << 20) // max(1, int(np.prod(images.shape[1:]))))
    for start in range(0, len(images), step):
        digest.update(np.ascontiguousarray(images[start : start + step]).data)
    if labels is not None:
        digest.update(np.ascontiguousarray(labels).data)
    return digest.hexdigest()
