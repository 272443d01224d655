"""One pass of an extractor over a set of images: every metric of that extractor is served by it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from kennel.data.image_set import ImageSet
from kennel.errors import JudgementError
from kennel.features.contract import Extractor

Progress: TypeAlias = Callable[[int, int], None]
"""`report(images done, images in all)`."""
FloatRows = npt.NDArray[np.float32]
BATCH = 64


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
    images: ImageSet,
    extractor: Extractor,
    rows: npt.NDArray[np.int64] | None = None,
    *,
    batch: int = BATCH,
    on_progress: Progress | None = None,
) -> Iterator[FeatureRows]:
    """Features of the chosen `rows` (all where None), a batch at a time.

    Raises `JudgementError` where a feature is not finite, or the set gives fewer images than its length.
    """
    wanted = len(images) if rows is None else len(rows)
    done = position = 0
    for pixels in images.batches(batch):
        start, position = position, position + len(pixels)
        if rows is not None:
            first, last = np.searchsorted(rows, (start, position))
            pixels = pixels[rows[first:last] - start]  # noqa: PLW2901
            if not len(pixels):
                continue
        extracted = extractor.extract(torch.from_numpy(np.ascontiguousarray(pixels)))
        features = extracted.features.numpy()
        if not np.isfinite(features).all():
            raise JudgementError(
                f"the {extractor.name} extractor gave features that are not finite for {images.name}: "
                "look for damaged weights, or use float32"
            )
        yield FeatureRows(features, None if extracted.logits is None else extracted.logits.numpy())
        done += len(features)
        if on_progress:
            on_progress(done, wanted)
        if done == wanted:
            return
    raise JudgementError(f"{images.name} gave {done} of {wanted} images: it changed while it was read")


def extract_rows(
    images: ImageSet,
    extractor: Extractor,
    rows: npt.NDArray[np.int64] | None = None,
    *,
    batch: int = BATCH,
    on_progress: Progress | None = None,
) -> FeatureRows:
    """`feature_batches`, gathered in memory."""
    parts = list(feature_batches(images, extractor, rows, batch=batch, on_progress=on_progress))
    if not parts:
        raise JudgementError(f"{images.name} holds no images: give at least 2")
    features = np.concatenate([part.features for part in parts])
    logits = [part.logits for part in parts if part.logits is not None]
    return FeatureRows(features, np.concatenate(logits) if logits else None)
