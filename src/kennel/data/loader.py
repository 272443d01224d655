"""The endless stream of batches: a pure function of how many images have been shown.

Nothing about the stream has to be saved: a run that resumes asks for the batch at its own position. A set
that fits lives on the device. A larger one is read from its file, some batches ahead of what is asked for:

    order ─► rows announced to the system ─► read (pinned) ─► copied on a stream of its own ─► at()
    └────────────────── a background thread, whatever the training does ──────────────────┘

Both give the same batches, bit for bit.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from kennel.data.dataset import ImageDataset
from kennel.data.memory_budget import memory_on
from kennel.data.npy_reader import NpyReader
from kennel.data.prefetch import Prefetcher
from kennel.data.shuffle import TABLE_IMAGES, EpochShuffle
from kennel.errors import DataError
from kennel.shapes import Indices, Labels, Pixels

AHEAD_BYTES = 64 << 20
"""Batches made ahead fill about so much memory; there are at least 2 and at most 16."""
_LEAST_AHEAD, _MOST_AHEAD = 2, 16
_ANNOUNCED = 16
"""Batches whose rows are named to the system before they are read."""


class BatchLoader:
    """Batches of a packed set, each epoch in a fresh order, drawn from (seed, epoch).

    A batch that runs over an epoch's end takes its rest from the next epoch, so that every image is shown
    once an epoch whatever the batch size. A stream may be used in a `with` block, which ends its thread.
    """

    def __init__(
        self,
        dataset: ImageDataset,
        batch: int,
        seed: int,
        device: torch.device,
        resident_bytes: int | None = None,
        *,
        rows: slice = slice(None),
        table_images: int = TABLE_IMAGES,
    ) -> None:
        """Opens the stream; a set of at most `resident_bytes` (None: what the device has room for) is copied
        to `device` now.

        `rows` are those of each batch that this process trains on: `batch` and the positions are the whole
        training's, and only these rows are read. Sets of more than `table_images` have computed orders.
        Raises `DataError` where the set cannot be read, here and in `at`.
        """
        self.dataset, self.batch, self.device, self.rows = dataset, batch, device, rows
        size = dataset.images.nbytes
        room = memory_on(device) if resident_bytes is None else resident_bytes
        self.is_resident = size <= room
        self._order = EpochShuffle(len(dataset), seed, device if self.is_resident else None, table_images)
        self._images: torch.Tensor | None = None
        self._labels: torch.Tensor | None = None
        self._ahead: Prefetcher[_Batch] | None = None
        labels = None if dataset.labels is None else _small(dataset, dataset.labels)
        if self.is_resident:
            self._images = _loaded(dataset, device)
            self._labels = None if labels is None else labels.to(device)
        else:
            # An order of its own, since the thread must not meet others there.
            order = EpochShuffle(len(dataset), seed, None, table_images)
            reader = _Reader(_file(dataset, "images.npy", dataset.images), labels, order, batch, rows, device)
            self._ahead = Prefetcher(reader.read, batch, reader.depth)

    @property
    def about(self) -> str:
        """Where the set is, in a sentence."""
        size = _bytes(float(self.dataset.images.nbytes))
        if self.is_resident:
            return f"The set ({size}) is held in the memory of {self.device}."
        return f"The set ({size}) is streamed from {self.dataset.path}."

    def at(self, images_seen: int) -> tuple[Pixels, Labels | None]:
        """The batch after `images_seen` images, on the device: uint8 (batch, C, H, W), and labels.

        Of the batch only the stream's `rows`.
        """
        if self._ahead is not None:
            return self._ahead.at(images_seen).on(self.device)
        assert self._images is not None
        indices = self.indices(images_seen)
        labels = None if self._labels is None else self._labels.index_select(0, indices).long()
        return self._images.index_select(0, indices), labels

    def indices(self, images_seen: int) -> Indices:
        """Which images follow after `images_seen`, this process's rows of the batch, on the CPU where the set
        is streamed and on the device where it is resident."""
        return self._order.at(images_seen, self.batch)[self.rows]

    def close(self) -> None:
        """Ends the thread (a second is waited for a read that hangs); no batch may be asked for after it."""
        if self._ahead is not None:
            self._ahead.close()

    def __enter__(self) -> "BatchLoader":
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()


class _Batch(NamedTuple):
    """What the thread hands over; `copied` is the CUDA event behind which it may be used."""

    pixels: torch.Tensor
    labels: torch.Tensor | None
    copied: torch.cuda.Event | None

    def on(self, device: torch.device) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Pixels and labels on the device, in the order of its current stream; nobody waits on the host."""
        both = [self.pixels] if self.labels is None else [self.pixels, self.labels]
        if self.copied is not None:
            using = torch.cuda.current_stream(device)
            using.wait_event(self.copied)
            for tensor in both:
                # It was allocated on the copying stream, which must not use its memory again before.
                tensor.record_stream(using)
        else:
            both = [tensor.to(device) for tensor in both]
        return both[0], both[1] if len(both) > 1 else None


class _Reader:
    """Reads whole batches, in a thread of its own; it does not hold the stream, which may be dropped."""

    def __init__(
        self,
        images: NpyReader,
        labels: torch.Tensor | None,
        order: EpochShuffle,
        batch: int,
        rows: slice,
        device: torch.device,
    ) -> None:
        self._images, self._labels, self._order = images, labels, order
        self._batch, self._rows = batch, rows
        self._copying = _copying_stream(device)
        self._announced = (0, 0)
        """From and to which position rows have been named to the system."""
        shown = len(range(batch)[rows])
        self.depth = min(_MOST_AHEAD, max(_LEAST_AHEAD, AHEAD_BYTES // max(1, shown * images.row_bytes)))

    def read(self, position: int) -> _Batch:
        """The batch after `position` images."""
        self._announce(position)
        indices = self._indices(position)
        pinned = self._copying is not None
        pixels = torch.empty((len(indices), *self._images.shape[1:]), dtype=torch.uint8, pin_memory=pinned)
        self._images.read(indices.numpy(), pixels.numpy())
        labels = None if self._labels is None else self._labels.index_select(0, indices).long()
        if self._copying is None:
            return _Batch(pixels, labels, None)
        # The allocator of pinned memory gives it to nobody else until the copy is done.
        # "cuda" without a number may be another device in this thread: the stream knows which was meant.
        device = self._copying.device
        with torch.cuda.stream(self._copying):
            there = pixels.to(device, non_blocking=True)
            if labels is not None:
                labels = labels.pin_memory().to(device, non_blocking=True)
            copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
            copied.record(self._copying)
        return _Batch(there, labels, copied)

    def _indices(self, position: int) -> torch.Tensor:
        return self._order.at(position, self._batch)[self._rows]

    def _announce(self, position: int) -> None:
        first, last = self._announced
        if not first <= position <= last:
            first = last = position
        while last < position + _ANNOUNCED * self._batch:
            self._images.announce(self._indices(last).numpy())
            last += self._batch
        self._announced = (position, last)


def _copying_stream(device: torch.device) -> torch.cuda.Stream | None:
    """What copies to a GPU while it computes, None for other devices."""
    if device.type != "cuda":
        return None
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


def _file(dataset: ImageDataset, name: str, array: npt.NDArray[Any]) -> NpyReader:
    return NpyReader(dataset.path / name, array)


def _loaded(dataset: ImageDataset, device: torch.device) -> torch.Tensor:
    """All images on the device; on their way through the host they take some megabytes."""
    try:
        there = torch.empty(dataset.images.shape, dtype=torch.uint8, device=device)
    except RuntimeError as error:  # torch's out of memory
        raise DataError(
            f"the {_bytes(float(dataset.images.nbytes))} of {dataset.path} do not fit into the free memory "
            f"of {device}: stream the set with --device-cache never"
        ) from error
    _fill(_file(dataset, "images.npy", dataset.images), there, torch.from_numpy)
    return there


def _small(dataset: ImageDataset, labels: npt.NDArray[Any]) -> torch.Tensor:
    """All labels on the CPU, in the smallest type that holds the number of classes."""
    classes = len(dataset.classes)
    kind = np.min_scalar_type(-max(2, classes))
    held = torch.empty(len(labels), dtype=getattr(torch, kind.name))

    def smaller(chunk: npt.NDArray[Any]) -> torch.Tensor:
        if chunk.min(initial=0) < 0 or chunk.max(initial=-1) >= classes:
            raise DataError(f"{dataset.path} has labels beyond its {classes} classes: prepare it again")
        return torch.from_numpy(chunk.astype(kind))

    _fill(_file(dataset, "labels.npy", labels), held, smaller)
    return held


def _fill(file: NpyReader, into: torch.Tensor, convert: Callable[[npt.NDArray[Any]], torch.Tensor]) -> None:
    """Every row of the file into a tensor of as many."""
    place = 0
    try:
        for chunk in file.chunks():
            into[place : place + len(chunk)] = convert(chunk)
            place += len(chunk)
    finally:
        file.close()


def _bytes(count: float) -> str:
    """12.6 MB, 123 GB."""
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if count < 1000 or unit == "TB":
            break
        count /= 1000
    return f"{count:.3g} {unit}"
