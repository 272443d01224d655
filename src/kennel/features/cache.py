"""The cache of reference features.

Each set has two files: `KEY.npy` with the features, memory-mapped when read, and `KEY.safetensors` with their
mean and covariance, the extractor's classes, and the digest of the first file. The key covers everything that
the features depend on. No pickles.
"""

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from kennel.data.images import ImageSource
from kennel.data.sources.npy import open_npy
from kennel.distributed import all_gather_ints
from kennel.features.base import Extractor
from kennel.features.extract import BATCH, FloatRows, Progress, contribute, extract_rows, feature_batches
from kennel.features.moments import IndexArray, Moments, MomentsAccumulator, moments
from kennel.storage.atomic_io import atomic_file
from kennel.storage.cache import cache_folder

FORMAT = 2


@dataclass(frozen=True)
class ReferenceFeatures:
    """`features` float32 (count, dimension), possibly memory-mapped, and their float64 `moments`.
    `predictions` int64 (count,): the extractor's classes, None without logits."""

    features: FloatRows
    moments: Moments
    predictions: IndexArray | None = None


def feature_key(images: ImageSource, extractor: Extractor) -> str:
    """A digest of everything that the features of `images` depend on."""
    parts = {
        "format": FORMAT,
        "fingerprint": images.fingerprint,
        "count": len(images),
        "shape": images.shape,
        "extractor": extractor.name,
        "weights": extractor.weights_digest,
        "logits": extractor.logits,
        "resize": extractor.resize,
        "precision": extractor.precision,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def is_cached(images: ImageSource, extractor: Extractor) -> bool:
    """Whether the cache has files with the features of `images`; they are not verified."""
    stem = _stem(images, extractor)
    return stem.with_suffix(".safetensors").is_file() and stem.with_suffix(".npy").is_file()


def reference_features(
    images: ImageSource,
    extractor: Extractor,
    *,
    cached: bool = True,
    batch: int = BATCH,
    shared: bool = False,
    on_progress: Progress | None = None,
    on_note: Callable[[str], None] = lambda note: None,
) -> ReferenceFeatures:
    """Features and moments of all `images`: from the cache, else computed and stored there. A damaged cache
    entry is reported to `on_note` and computed again. A cache that cannot be written is reported too, and the
    features stay in memory. With `shared`, rank 0 calls this and the others `contribute_reference`."""
    found: ReferenceFeatures | None = None
    stem: Path | None = None
    shape = (len(images), extractor.dimension)
    if cached:
        stem = _stem(images, extractor)
        try:
            found = _load(stem, shape)
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            on_note(
                f"The cached features {stem.name} of {images.name} are damaged ({error}): they are computed "
                "again."
            )
    if shared:
        all_gather_ints(found is None, patient=True)  # whether there is a pass
    if found is not None:
        return found
    if stem is not None and not _writable(stem.parent):
        on_note(f"The cache {stem.parent} cannot be written: the features of {images.name} are not stored.")
        stem = None
    if stem is not None:
        _fill(stem, images, extractor, batch, shared, on_progress)
        if filled := _load(stem, shape):
            return filled
        shared = False
    extracted = extract_rows(images, extractor, batch=batch, shared=shared, on_progress=on_progress)
    predictions = None if extracted.logits is None else extracted.logits.argmax(1)
    return ReferenceFeatures(extracted.features, moments(extracted.features), predictions)


def contribute_reference(images: ImageSource, extractor: Extractor, *, batch: int = BATCH) -> None:
    """The part of the other ranks in a shared `reference_features` of rank 0."""
    if all_gather_ints(False, patient=True)[0][0]:
        contribute(images, extractor, batch=batch)


def _stem(images: ImageSource, extractor: Extractor) -> Path:
    return cache_folder() / "features" / feature_key(images, extractor)


def _fill(
    stem: Path,
    images: ImageSource,
    extractor: Extractor,
    batch: int,
    shared: bool,
    on_progress: Progress | None,
) -> None:
    """Writes both files; the statistics come last and complete the entry."""
    accumulator = MomentsAccumulator()
    predictions = []
    with atomic_file(stem.with_suffix(".npy")) as temporary:
        with temporary.open("wb") as file:
            header = {"descr": "<f4", "fortran_order": False, "shape": (len(images), extractor.dimension)}
            np.lib.format.write_array_header_1_0(file, header)
            for part in feature_batches(
                images, extractor, batch=batch, shared=shared, on_progress=on_progress
            ):
                accumulator.add(part.features)
                if part.logits is not None:
                    predictions.append(part.logits.argmax(1))
                file.write(part.features.astype("<f4").tobytes())
        digest = _digest(temporary)
    statistics = accumulator.moments()
    metadata = {"features_blake2b": digest, "count": str(statistics.count), "set": images.name}
    tensors: dict[str, np.ndarray] = {"mean": statistics.mean, "covariance": statistics.covariance}
    if predictions:
        tensors["predictions"] = np.concatenate(predictions)
    with atomic_file(stem.with_suffix(".safetensors")) as temporary:
        save_file(tensors, temporary, metadata)


def _load(stem: Path, shape: tuple[int, int]) -> ReferenceFeatures | None:
    """The entry, or None without one; raises several kinds of errors if it is damaged."""
    statistics_file, features_file = stem.with_suffix(".safetensors"), stem.with_suffix(".npy")
    if not statistics_file.is_file() or not features_file.is_file():
        return None
    with safe_open(statistics_file, "np") as file:
        metadata = file.metadata() or {}
        mean, covariance = file.get_tensor("mean"), file.get_tensor("covariance")
        predictions = file.get_tensor("predictions") if "predictions" in file.keys() else None  # noqa: SIM118
    if metadata["features_blake2b"] != _digest(features_file):
        raise ValueError("the file changed")
    features = open_npy(features_file)
    valid = features.shape == shape and features.dtype == np.float32 and mean.shape == (shape[1],)
    if not valid or covariance.shape != (shape[1], shape[1]):
        raise ValueError("the shape is wrong")
    if len(features) <= shape[1]:
        # Few rows: computing the moments again is cheap and gives the exact factor.
        return ReferenceFeatures(features, moments(features), predictions)
    return ReferenceFeatures(features, Moments(mean, covariance, int(metadata["count"])), predictions)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()[:32]


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)
