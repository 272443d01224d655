"""Features of reference sets, kept in the cache so that the second judgement starts at once.

Two files a set: `KEY.npy` with the features, memory-mapped when read, and `KEY.safetensors` with their mean
and covariance, the classes that the extractor names, and the digest of the first. The key covers all that
the features depend on. No pickles.
"""

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from kennel.data.images import ImageSource
from kennel.data.sources.npy import open_npy
from kennel.distributed import all_gather_ints
from kennel.features.base import Extractor
from kennel.features.extract import BATCH, FloatRows, Progress, contribute, extract_rows, feature_batches
from kennel.features.moments import Moments, MomentsAccumulator, moments
from kennel.storage.atomic_io import atomic_file
from kennel.storage.cache import cache_folder

T = TypeVar("T")
FORMAT = 2
Note = Callable[[str], None]


@dataclass(frozen=True)
class ReferenceFeatures:
    """`features` float32 (count, dimension), perhaps memory-mapped, and their float64 `moments`.

    `predictions` int64 (count,): the class that the extractor names, None where it has no logits.
    """

    features: FloatRows
    moments: Moments
    predictions: npt.NDArray[np.int64] | None = None


def feature_key(images: ImageSource, extractor: Extractor) -> str:
    """A digest of everything that decides the features of `images`."""
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


def is_kept(images: ImageSource, extractor: Extractor) -> bool:
    """Whether the cache holds the features of `images`, whole or not."""
    stem = cache_folder() / "features" / feature_key(images, extractor)
    return stem.with_suffix(".safetensors").is_file() and stem.with_suffix(".npy").is_file()


def reference_features(
    images: ImageSource,
    extractor: Extractor,
    *,
    cached: bool = True,
    batch: int = BATCH,
    shared: bool = False,
    on_progress: Progress | None = None,
    on_note: Note | None = None,
) -> ReferenceFeatures:
    """Features and moments of all of `images`: from the cache, else by a pass that fills the cache.

    A damaged cache entry is told to `on_note` and computed again; a cache that cannot be written is told
    there too, and the features stay in memory. With `shared` this is rank 0's part, and the other ranks'
    is `contribute_reference`.
    """
    tell = on_note or (lambda _: None)
    pass_over = partial(_in_memory, images, extractor, batch, shared, on_progress)
    if not cached:
        return _announced(pass_over, shared)
    stem = cache_folder() / "features" / feature_key(images, extractor)
    try:
        found = _load(stem, (len(images), extractor.dimension))
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        tell(f"The cached features {stem.name} of {images.name} are damaged ({error}): computing them again.")
        found = None
    if found is not None:
        if shared:
            all_gather_ints(False, patient=True)
        return found
    if not _writable(stem.parent):
        tell(f"The cache {stem.parent} cannot be written, so the features of {images.name} are not kept.")
        return _announced(pass_over, shared)
    _announced(partial(_fill, stem, images, extractor, batch, shared, on_progress), shared)
    filled = _load(stem, (len(images), extractor.dimension))
    return filled or _in_memory(images, extractor, batch, False, on_progress)


def contribute_reference(images: ImageSource, extractor: Extractor, *, batch: int = BATCH) -> None:
    """What every rank but 0 does while rank 0 goes through shared `reference_features`."""
    needed = all_gather_ints(False, patient=True)[0][0]
    if needed:
        contribute(images, extractor, batch=batch)


def _announced(pass_over: Callable[[], T], shared: bool) -> T:
    """The pass, once the other ranks know that there is one."""
    if shared:
        all_gather_ints(True, patient=True)
    return pass_over()


def _in_memory(
    images: ImageSource, extractor: Extractor, batch: int, shared: bool, on_progress: Progress | None
) -> ReferenceFeatures:
    passed = extract_rows(images, extractor, batch=batch, shared=shared, on_progress=on_progress)
    predictions = None if passed.logits is None else passed.logits.argmax(1)
    return ReferenceFeatures(passed.features, moments(passed.features), predictions)


def _fill(
    stem: Path,
    images: ImageSource,
    extractor: Extractor,
    batch: int,
    shared: bool,
    on_progress: Progress | None,
) -> None:
    """Writes both files, the statistics last: they are what makes the entry complete."""
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
    gathered = accumulator.moments()
    metadata = {"features_blake2b": digest, "count": str(gathered.count), "set": images.name}
    tensors: dict[str, npt.NDArray[Any]] = {"mean": gathered.mean, "covariance": gathered.covariance}
    if predictions:
        tensors["predictions"] = np.concatenate(predictions)
    with atomic_file(stem.with_suffix(".safetensors")) as temporary:
        save_file(tensors, temporary, metadata)


def _load(stem: Path, shape: tuple[int, int]) -> ReferenceFeatures | None:
    """The entry; None where there is none; an exception of several kinds where it is not whole."""
    statistics_file, features_file = stem.with_suffix(".safetensors"), stem.with_suffix(".npy")
    if not statistics_file.is_file() or not features_file.is_file():
        return None
    with safe_open(statistics_file, "np") as file:
        metadata = file.metadata() or {}
        mean, covariance = file.get_tensor("mean"), file.get_tensor("covariance")
        predictions = file.get_tensor("predictions") if "predictions" in file.keys() else None  # noqa: SIM118
    if metadata["features_blake2b"] != _digest(features_file):
        raise ValueError("its bytes changed")
    features = open_npy(features_file)
    whole = features.shape == shape and features.dtype == np.float32 and mean.shape == (shape[1],)
    if not whole or covariance.shape != (shape[1], shape[1]):
        raise ValueError("its shape is wrong")
    if len(features) <= shape[1]:
        # Cheap, and it brings the exact factor.
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
