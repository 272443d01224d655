"""Warns about sets that are too small or repetitive to train on."""

import hashlib
from collections import defaultdict

import numpy as np

from kennel.data.dataset import ImageDataset
from kennel.data.images import PixelArray

FEW = 100
"""Fewer distinct images give a warning. It is the smallest set that Zhao et al. 2020 (arXiv 2006.10738) train
on from scratch, with differentiable augmentation."""

_WHOLE, _SAMPLED = 4096, 512
"""Sets up to `_WHOLE` images are read completely; larger ones are sampled, since each image costs a seek."""


def shortage(dataset: ImageDataset) -> str | None:
    """What cannot be learned from the set, in one sentence; None if there is no problem.

    Images are distinct if their pixels differ. Of more than 4,096 images, 512 are sampled evenly.
    """
    total = len(dataset)
    is_whole = total <= _WHOLE
    rows = np.linspace(0, total - 1, total if is_whole else _SAMPLED).astype(np.int64)
    digests = [_digest(dataset.images[row]) for row in rows]
    distinct = len(set(digests))
    parts = []
    if distinct == 1:
        images = f"its {total:,} images are all equal" if total > 1 else "it has one image"
        parts.append(f"{images}, and training can only reproduce this image")
    elif distinct < FEW:
        of = "" if distinct == total else f" among its {total:,}"
        of = of if is_whole else f" among {_SAMPLED} sampled of its {total:,}"
        parts.append(
            f"it has {distinct:,} distinct images{of}: a GAN memorizes such a small set and repeats it "
            f"(published work begins at about {FEW}, with ada or diff_augment)"
        )
    if dataset.labels is not None and len(dataset.classes) > 1:
        single = _single_classes(dataset, digests if is_whole else None)
        if single:
            classes = f"{single:,} of its {len(dataset.classes):,} classes have a single image"
            parts.append(f"{classes}, and training can only reproduce it")
    return "; ".join(parts) or None


def _single_classes(dataset: ImageDataset, digests: list[bytes] | None) -> int:
    """The number of classes with one image; equal images count once if `digests` are given."""
    assert dataset.labels is not None
    if digests is None:
        return int((np.bincount(dataset.labels, minlength=len(dataset.classes)) == 1).sum())
    by_class: dict[int, set[bytes]] = defaultdict(set)
    for label, digest in zip(dataset.labels.tolist(), digests, strict=True):
        by_class[label].add(digest)
    return sum(len(images) == 1 for images in by_class.values())


def _digest(image: PixelArray) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16).digest()
