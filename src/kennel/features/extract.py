"""One pass of an extractor over a set of images: every metric of that extractor is served by it.

Ranks share a pass by whole batches: of each round of `world_size` batches every rank extracts its own and
rank 0 gathers them, in order. A batch is the same whoever has it, so the features are those of a process
alone.
"""

import hashlib
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from kennel.cancellation import raise_if_cancelled
from kennel.data.images import ImageSource, batch_starts
from kennel.distributed import all_gather_ints, rank, receive_from, send_to_rank_0, world_size
from kennel.errors import JudgementError, RankError
from kennel.features.base import Extractor

Progress: TypeAlias = Callable[[int, int], None]
"""`report(images done, images in all)`."""
FloatRows = npt.NDArray[np.float32]
BATCH = 64
HELD_BYTES = 512 << 20
"""Rows of more than this lie in a temporary file and not in memory."""


@dataclass(frozen=True)
class FeatureRows:
    """`features` float32 (count, dimension), `logits` float32 (count, classes) or None; rows in set order."""

    features: FloatRows
    logits: FloatRows | None


def choose_rows(total: int, count: int, seed: int) -> npt.NDArray[np.int64] | None:
    """Which `count` of `total` images to take: a random subset in set order, None where it is all of them."""
    if count == total:
        return None
    chosen = np.random.default_rng([seed, total, count]).choice(total, count, replace=False)
    return np.sort(chosen).astype(np.int64)


def feature_batches(
    images: ImageSource,
    extractor: Extractor,
    rows: npt.NDArray[np.int64] | None = None,
    *,
    batch: int = BATCH,
    shared: bool = False,
    on_progress: Progress | None = None,
) -> Iterator[FeatureRows]:
    """Features of the chosen `rows` (all where None), a batch at a time.

    With `shared` it is rank 0's part of a pass that the other ranks `contribute` to. Raises `JudgementError`
    where a feature is not finite, or the set gives other images than its length says.
    """
    wanted, done = len(images) if rows is None else len(rows), 0
    for part in _rounds(images, extractor, rows, batch, shared):
        raise_if_cancelled()
        yield part
        done += len(part.features)
        if on_progress:
            on_progress(done, wanted)
    if done != wanted:
        raise JudgementError(f"{images.name} gave {done} of {wanted} images: it changed while it was read")


def contribute(
    images: ImageSource,
    extractor: Extractor,
    rows: npt.NDArray[np.int64] | None = None,
    *,
    batch: int = BATCH,
) -> None:
    """A rank's part of the pass that rank 0 goes through by shared `feature_batches`."""
    for _ in _rounds(images, extractor, rows, batch, shared=True):
        raise AssertionError("only rank 0 gathers")


def _rounds(
    images: ImageSource, extractor: Extractor, rows: npt.NDArray[np.int64] | None, batch: int, shared: bool
) -> Iterator[FeatureRows]:
    """The batches in order, where no rank but 0 gets any."""
    ranks, own_rank = (world_size(), rank()) if shared else (1, 0)
    # Past the last chosen row nothing is read.
    count = len(images) if rows is None else int(rows[-1]) + 1
    own = _own_batches(images, extractor, rows, batch_starts(count, batch, own_rank, ranks), batch, ranks)
    if ranks == 1:
        yield from (part for part in own if part is not None)
        return
    _refuse_differences(images, extractor, rows, batch)
    for _ in batch_starts(count, batch, 0, ranks):
        yield from _gathered(next(own, None), extractor.dimension)


def _own_batches(
    images: ImageSource,
    extractor: Extractor,
    rows: npt.NDArray[np.int64] | None,
    starts: range,
    batch: int,
    ranks: int,
) -> Iterator[FeatureRows | None]:
    """Features of the batches that begin at `starts`, None for one of which no row was chosen."""
    given = images.batches(batch, starts.start // batch, ranks) if ranks > 1 else images.batches(batch)
    for start, pixels in zip(starts, given, strict=False):
        expected = min(batch, len(images) - start)
        if len(pixels) != expected:
            raise JudgementError(
                f"{images.name} gave {len(pixels)} images where {expected} were due: "
                "it changed while it was read"
            )
        if rows is not None:
            first, last = np.searchsorted(rows, (start, start + batch))
            pixels = pixels[rows[first:last] - start]  # noqa: PLW2901
        yield _extracted(images, extractor, pixels) if len(pixels) else None


def _extracted(images: ImageSource, extractor: Extractor, pixels: npt.NDArray[np.uint8]) -> FeatureRows:
    extracted = extractor.extract(torch.from_numpy(np.ascontiguousarray(pixels)))
    features = extracted.features.numpy()
    if not np.isfinite(features).all():
        raise JudgementError(
            f"the {extractor.name} extractor gave features that are not finite for {images.name}: "
            "look for damaged weights, or use float32"
        )
    return FeatureRows(features, None if extracted.logits is None else extracted.logits.numpy())


def _gathered(own: FeatureRows | None, dimension: int) -> Iterator[FeatureRows]:
    """One round: on rank 0 every rank's batch in turn."""
    classes = 0 if own is None or own.logits is None else own.logits.shape[1]
    told = all_gather_ints(0 if own is None else len(own.features), classes)
    if rank():
        for rows in (own.features, own.logits) if own is not None else ():
            if rows is not None:
                send_to_rank_0(torch.from_numpy(rows))
        return
    if own is not None:
        yield own
    for place, (count, its_classes) in enumerate(told[1:], 1):
        if count:
            features = receive_from(place, (count, dimension)).numpy()
            logits = receive_from(place, (count, its_classes)).numpy() if its_classes else None
            yield FeatureRows(features, logits)


def _refuse_differences(
    images: ImageSource, extractor: Extractor, rows: npt.NDArray[np.int64] | None, batch: int
) -> None:
    """All ranks must have the same pass before them; raises `RankError` on all where one has another."""
    chosen = "" if rows is None else hashlib.blake2b(rows.tobytes()).hexdigest()
    parts = (images.fingerprint, len(images), images.shape, batch, chosen, extractor.name, extractor.resize)
    text = repr((*parts, extractor.weights_digest, extractor.precision, extractor.logits))
    digest = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), signed=True)
    if len(set(all_gather_ints(digest, patient=True))) > 1:
        raise RankError(
            f"the ranks have different images or extractors for {images.name}: give all of them the same "
            "files, weights and options"
        )


def extract_rows(
    images: ImageSource,
    extractor: Extractor,
    rows: npt.NDArray[np.int64] | None = None,
    *,
    batch: int = BATCH,
    shared: bool = False,
    on_progress: Progress | None = None,
) -> FeatureRows:
    """`feature_batches`, gathered in memory, or above `HELD_BYTES` in a temporary file that is mapped."""
    wanted = len(images) if rows is None else len(rows)
    if not wanted:
        raise JudgementError(f"{images.name} holds no images: give at least 2")
    features = _Gathering(wanted, extractor.dimension)
    logits: _Gathering | None = None
    for part in feature_batches(images, extractor, rows, batch=batch, shared=shared, on_progress=on_progress):
        features.add(part.features)
        if part.logits is not None:
            logits = logits or _Gathering(wanted, part.logits.shape[1])
            logits.add(part.logits)
    return FeatureRows(features.rows(), None if logits is None else logits.rows())


class _Gathering:
    """Collects float32 rows (count, dimension) whose number is known."""

    def __init__(self, count: int, dimension: int) -> None:
        self._shape, self._done = (count, dimension), 0
        large = 4 * count * dimension > HELD_BYTES
        # It has no name and goes with its map. What is written and not mapped meets a full disk as an error.
        self._file = tempfile.TemporaryFile() if large else None  # noqa: SIM115
        self._rows = None if large else np.empty(self._shape, np.float32)

    def add(self, rows: FloatRows) -> None:
        if self._file is not None:
            self._file.write(np.ascontiguousarray(rows).data)
        elif self._rows is not None:
            self._rows[self._done : self._done + len(rows)] = rows
        self._done += len(rows)

    def rows(self) -> FloatRows:
        if self._file is None:
            assert self._rows is not None
            return self._rows
        self._file.flush()
        with self._file:
            return np.memmap(self._file, np.float32, "r", shape=self._shape)
