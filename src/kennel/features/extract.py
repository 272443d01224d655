"""One feature pass over a set of images, for all metrics.

Ranks share a pass by whole batches: of each `world_size` batches every rank extracts one, and rank 0 gathers
them in order. The batches do not depend on the number of ranks, so neither do the features.
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
from kennel.features.moments import IndexArray

Progress: TypeAlias = Callable[[int, int], None]  # `report(images done, images in all)`
FloatRows = npt.NDArray[np.float32]
BATCH = 64
MAX_MEMORY_BYTES = 512 << 20  # Larger arrays are stored in a temporary file


@dataclass(frozen=True)
class FeatureRows:
    """`features` float32 (count, dimension), `logits` float32 (count, classes) or None; rows in set order."""

    features: FloatRows
    logits: FloatRows | None


def choose_rows(total: int, count: int, seed: int) -> IndexArray | None:
    """A random subset of `count` of `total` images, in set order; None for all of them."""
    if count == total:
        return None
    chosen = np.random.default_rng([seed, total, count]).choice(total, count, replace=False)
    return np.sort(chosen).astype(np.int64)


def feature_batches(
    images: ImageSource,
    extractor: Extractor,
    rows: IndexArray | None = None,
    *,
    batch: int = BATCH,
    shared: bool = False,
    on_progress: Progress | None = None,
) -> Iterator[FeatureRows]:
    """Features of the chosen `rows` (all if None), one batch at a time. With `shared`, rank 0 calls this and
    the others `contribute`. Raises `JudgementError` if a feature is not finite, or the set changes during the
    pass."""
    wanted, done = len(images) if rows is None else len(rows), 0
    for part in _batches(images, extractor, rows, batch, shared):
        raise_if_cancelled()
        yield part
        done += len(part.features)
        if on_progress:
            on_progress(done, wanted)
    if done != wanted:
        raise JudgementError(f"{images.name} gave {done} of {wanted} images: it changed during the pass")


def contribute(
    images: ImageSource,
    extractor: Extractor,
    rows: IndexArray | None = None,
    *,
    batch: int = BATCH,
) -> None:
    """The part of the other ranks in a shared `feature_batches` of rank 0."""
    for _ in _batches(images, extractor, rows, batch, shared=True):
        raise AssertionError("only rank 0 gathers")


def _batches(
    images: ImageSource, extractor: Extractor, rows: IndexArray | None, batch: int, shared: bool
) -> Iterator[FeatureRows]:
    """The batches in order on rank 0; the other ranks get none."""
    ranks, own_rank = (world_size(), rank()) if shared else (1, 0)
    # Nothing is read after the last chosen row.
    count = len(images) if rows is None else int(rows[-1]) + 1
    own = _own_batches(images, extractor, rows, batch_starts(count, batch, own_rank, ranks), batch, ranks)
    if ranks == 1:
        yield from (part for part in own if part is not None)
        return
    _check_ranks_agree(images, extractor, rows, batch)
    for _ in batch_starts(count, batch, 0, ranks):
        yield from _gathered(next(own, None), extractor.dimension)


def _own_batches(
    images: ImageSource,
    extractor: Extractor,
    rows: IndexArray | None,
    starts: range,
    batch: int,
    ranks: int,
) -> Iterator[FeatureRows | None]:
    """Features of the batches that begin at `starts`; None for a batch without chosen rows."""
    batches = images.batches(batch, starts.start // batch, ranks) if ranks > 1 else images.batches(batch)
    for start, pixels in zip(starts, batches, strict=False):
        expected = min(batch, len(images) - start)
        if len(pixels) != expected:
            raise JudgementError(
                f"{images.name} gave {len(pixels)} images instead of {expected}: it changed during the pass"
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
            f"the {extractor.name} extractor gave features that are not finite for {images.name}: look for "
            "damaged weights, or use float32"
        )
    return FeatureRows(features, None if extracted.logits is None else extracted.logits.numpy())


def _gathered(own: FeatureRows | None, dimension: int) -> Iterator[FeatureRows]:
    """One batch of each rank, on rank 0 only."""
    classes = 0 if own is None or own.logits is None else own.logits.shape[1]
    sizes = all_gather_ints(0 if own is None else len(own.features), classes)
    if rank():
        for rows in (own.features, own.logits) if own is not None else ():
            if rows is not None:
                send_to_rank_0(torch.from_numpy(rows))
        return
    if own is not None:
        yield own
    for sender, (count, classes) in enumerate(sizes[1:], 1):
        if count:
            features = receive_from(sender, (count, dimension)).numpy()
            logits = receive_from(sender, (count, classes)).numpy() if classes else None
            yield FeatureRows(features, logits)


def _check_ranks_agree(
    images: ImageSource, extractor: Extractor, rows: IndexArray | None, batch: int
) -> None:
    """Raises `RankError` on all ranks if one has other images, rows or another extractor."""
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
    rows: IndexArray | None = None,
    *,
    batch: int = BATCH,
    shared: bool = False,
    on_progress: Progress | None = None,
) -> FeatureRows:
    """`feature_batches` in one array, in memory or above `MAX_MEMORY_BYTES` in a mapped temporary file."""
    wanted = len(images) if rows is None else len(rows)
    if not wanted:
        raise JudgementError(f"{images.name} has no images: give at least 2")
    features = _RowBuffer(wanted, extractor.dimension)
    logits: _RowBuffer | None = None
    for part in feature_batches(images, extractor, rows, batch=batch, shared=shared, on_progress=on_progress):
        features.add(part.features)
        if part.logits is not None:
            logits = logits or _RowBuffer(wanted, part.logits.shape[1])
            logits.add(part.logits)
    return FeatureRows(features.rows(), None if logits is None else logits.rows())


class _RowBuffer:
    """An array of float32 rows (count, dimension) that is filled in order."""

    def __init__(self, count: int, dimension: int) -> None:
        self._shape, self._done = (count, dimension), 0
        large = 4 * count * dimension > MAX_MEMORY_BYTES
        # Unnamed, so it is deleted with its map. Written without a map, so that a full disk raises an error.
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
