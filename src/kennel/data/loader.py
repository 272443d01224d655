"""The endless stream of batches: a pure function of the number of images seen.

So a run resumes without a saved loader state. A set that fits is kept on the device. A larger one is read
from its file, some batches ahead:

    order ─► rows announced to the system ─► read (pinned) ─► copied on a separate stream ─► at()
    └────────────────────────────── a background thread ──────────────────────────────┘

Both give identical batches.
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
from kennel.data.shuffle import TABLE_IMAGES, EpochShuffle, RepeatedShuffle
from kennel.errors import DataError
from kennel.shapes import Indices, Labels, Pixels

AHEAD_BYTES = 64 << 20
"""Approximate size of all prefetched batches; there are at least 2 and at most 16."""
_MIN_AHEAD, _MAX_AHEAD = 2, 16
_ANNOUNCED = 16  # batches whose rows are announced to the system before they are read


class BatchLoader:
    """Batches of a packed set, shuffled each epoch by (seed, epoch).

    A batch at an epoch's end continues with the next epoch, so each epoch shows every image once for any
    batch size. Usable as a context manager, which ends the thread.
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
        balanced: bool = False,
        table_images: int = TABLE_IMAGES,
    ) -> None:
        """Copies a set of at most `resident_bytes` (None: what the device has room for) to `device`.

        `batch` and positions count the whole training's images; this process reads only `rows` of each batch.
        `balanced` shows every class as often as the largest one: an epoch is then longer, and has the images
        of smaller classes several times. Sets of more than `table_images` have computed orders. Raises
        `DataError` if the set cannot be read, here and in `at`.
        """
        self.dataset, self.batch, self.device, self.rows = dataset, batch, device, rows
        size = dataset.images.nbytes
        room = memory_on(device) if resident_bytes is None else resident_bytes
        self.is_resident = size <= room
        repeated = balanced_rows(dataset) if balanced else None

        def order_on(place: torch.device | None) -> EpochShuffle:
            if repeated is None:
                return EpochShuffle(len(dataset), seed, place, table_images)
            return RepeatedShuffle(repeated, seed, place, table_images)

        self._order = order_on(device if self.is_resident else None)
        self._images: torch.Tensor | None = None
        self._labels: torch.Tensor | None = None
        self._ahead: Prefetcher[_Batch] | None = None
        labels = None if dataset.labels is None else _load_labels(dataset, dataset.labels)
        if self.is_resident:
            self._images = _load_images(dataset, device)
            self._labels = None if labels is None else labels.to(device)
        else:
            # A separate order, since the thread uses it at the same time.
            reader = _Reader(_reader_of(dataset), labels, order_on(None), batch, rows, device)
            self._ahead = Prefetcher(reader.read, batch, reader.depth)

    @property
    def about(self) -> str:
        """Where the set is kept, in a sentence."""
        size = _bytes(float(self.dataset.images.nbytes))
        if self.is_resident:
            return f"The set ({size}) is in the memory of {self.device}."
        return f"The set ({size}) is streamed from {self.dataset.path}."

    def at(self, images_seen: int) -> tuple[Pixels, Labels | None]:
        """This process's rows of the batch after `images_seen`: uint8 (batch, C, H, W) on the device."""
        if self._ahead is not None:
            return self._ahead.at(images_seen).on(self.device)
        assert self._images is not None
        indices = self.indices(images_seen)
        labels = None if self._labels is None else self._labels.index_select(0, indices).long()
        return self._images.index_select(0, indices), labels

    def indices(self, images_seen: int) -> Indices:
        """The images of this process's rows, on the device if the set is resident, else on the CPU."""
        return self._order.at(images_seen, self.batch)[self.rows]

    def close(self) -> None:
        """Ends the thread, after at most a second if a read hangs. No batches can be read after it."""
        if self._ahead is not None:
            self._ahead.close()

    def __enter__(self) -> "BatchLoader":
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()


class _Batch(NamedTuple):
    """A batch from the thread. `copied` is the CUDA event after which it can be used."""

    pixels: torch.Tensor
    labels: torch.Tensor | None
    copied: torch.cuda.Event | None

    def on(self, device: torch.device) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Pixels and labels on the device, ordered on its current stream; the host does not wait."""
        both = [self.pixels] if self.labels is None else [self.pixels, self.labels]
        if self.copied is not None:
            current = torch.cuda.current_stream(device)
            current.wait_event(self.copied)
            for tensor in both:
                # Allocated on the copying stream, which must not reuse the memory while it is in use here.
                tensor.record_stream(current)
        else:
            both = [tensor.to(device) for tensor in both]
        return both[0], both[1] if len(both) > 1 else None


class _Reader:
    """Reads whole batches in the thread. It keeps no reference to the loader, which may be dropped."""

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
        self._copying: torch.cuda.Stream | None = None
        if device.type == "cuda":
            self._copying = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._announced = (0, 0)  # start and end of the announced positions
        rows_read = len(range(batch)[rows])
        self.depth = min(_MAX_AHEAD, max(_MIN_AHEAD, AHEAD_BYTES // max(1, rows_read * images.row_bytes)))

    def read(self, position: int) -> _Batch:
        self._announce(position)
        indices = self._indices(position)
        pinned = self._copying is not None
        pixels = torch.empty((len(indices), *self._images.shape[1:]), dtype=torch.uint8, pin_memory=pinned)
        self._images.read(indices.numpy(), pixels.numpy())
        labels = None if self._labels is None else self._labels.index_select(0, indices).long()
        if self._copying is None:
            return _Batch(pixels, labels, None)
        # The pinned-memory allocator does not reuse this memory before the copy is done.
        # "cuda" without an index may be another device in this thread, so take the stream's.
        device = self._copying.device
        with torch.cuda.stream(self._copying):
            on_device = pixels.to(device, non_blocking=True)
            if labels is not None:
                labels = labels.pin_memory().to(device, non_blocking=True)
            copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
            copied.record(self._copying)
        return _Batch(on_device, labels, copied)

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


def balanced_rows(dataset: ImageDataset) -> torch.Tensor:
    """Rows in which every class occurs as often as in the set's largest class: int64 (classes * largest,).

    The images of a class differ in their number of repetitions by one at most. Raises `DataError` for a set
    without classes.
    """
    if dataset.labels is None or not dataset.classes:
        raise DataError(
            f"{dataset.path} has no classes to balance: leave balance_classes out, or prepare the set from a "
            "folder for each class"
        )
    labels = np.asarray(dataset.labels)
    counts = np.bincount(labels, minlength=len(dataset.classes))
    in_order = np.split(np.argsort(labels, kind="stable"), np.cumsum(counts)[:-1])
    return torch.from_numpy(np.concatenate([np.resize(own, counts.max()) for own in in_order if len(own)]))


def _reader_of(dataset: ImageDataset) -> NpyReader:
    return NpyReader(dataset.path / "images.npy", dataset.images)


def _load_images(dataset: ImageDataset, device: torch.device) -> torch.Tensor:
    """All images on the device, copied in chunks of some megabytes."""
    try:
        images = torch.empty(dataset.images.shape, dtype=torch.uint8, device=device)
    except RuntimeError as error:  # torch's out of memory
        raise DataError(
            f"the {_bytes(float(dataset.images.nbytes))} of {dataset.path} do not fit into the free memory "
            f"of {device}: stream the set with --device-cache never"
        ) from error
    _fill(_reader_of(dataset), images, torch.from_numpy)
    return images


def _load_labels(dataset: ImageDataset, labels: npt.NDArray[Any]) -> torch.Tensor:
    """All labels on the CPU, in the smallest dtype for the number of classes."""
    classes = len(dataset.classes)
    dtype = np.min_scalar_type(-max(2, classes))
    loaded = torch.empty(len(labels), dtype=getattr(torch, dtype.name))

    def convert(chunk: npt.NDArray[Any]) -> torch.Tensor:
        if chunk.min(initial=0) < 0 or chunk.max(initial=-1) >= classes:
            raise DataError(f"{dataset.path} has labels beyond its {classes} classes: prepare it again")
        return torch.from_numpy(chunk.astype(dtype))

    _fill(NpyReader(dataset.path / "labels.npy", labels), loaded, convert)
    return loaded


def _fill(file: NpyReader, into: torch.Tensor, convert: Callable[[npt.NDArray[Any]], torch.Tensor]) -> None:
    """Copies all rows of the file into `into` and closes the file."""
    start = 0
    try:
        for chunk in file.chunks():
            into[start : start + len(chunk)] = convert(chunk)
            start += len(chunk)
    finally:
        file.close()


def _bytes(count: float) -> str:
    """12.6 MB, 123 GB."""
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if count < 1000 or unit == "TB":
            break
        count /= 1000
    return f"{count:.3g} {unit}"
