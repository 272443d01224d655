"""What cannot come of a set, because it is too small or repeats itself."""

import hashlib
from collections import defaultdict

import numpy as np

from kennel.data.dataset import ImageDataset
from kennel.data.images import PixelArray

FEW = 100
"""Distinct images below which a warning is due: the smallest sets that Zhao et al. 2020 (arXiv 2006.10738)
train from nothing, with augmentation of what the discriminator sees."""

_WHOLE, _SOME = 4096, 512
"""A set of so many images is looked at whole, and of a larger one so many, which a slow disk must seek."""


def shortage(dataset: ImageDataset) -> str | None:
    """One sentence about what cannot be learned from the set; None where nothing is plainly missing.

    Images count as distinct by their exact pixels. Of more than 4,096 some 512 are looked at, evenly.
    """
    count = len(dataset) if len(dataset) <= _WHOLE else _SOME
    rows = np.linspace(0, len(dataset) - 1, count).astype(np.int64)
    digests = [_digest(dataset.images[row]) for row in rows]
    distinct = len(set(digests))
    whole = len(rows) == len(dataset)
    parts = []
    if distinct == 1:
        parts.append(
            f"its {len(dataset):,} images are one and the same" if len(dataset) > 1 else "it has one image"
        )
        parts[0] += ", and nothing but this image can come of it"
    elif distinct < FEW:
        of = (
            ""
            if distinct == len(dataset)
            else f" among its {len(dataset):,}" + ("" if whole else ", as far as looked at")
        )
        parts.append(
            f"it has {distinct:,} distinct images{of}: a GAN learns so few by heart and repeats them "
            f"(published work begins at about {FEW}, with ada or diff_augment)"
        )
    if dataset.labels is not None and len(dataset.classes) > 1:
        single = _single_classes(dataset, digests if whole else None)
        if single:
            one = f"{single:,} of its {len(dataset.classes):,} classes have a single image"
            parts.append(f"{one}, and nothing but that image can come of such a class")
    return "; ".join(parts) or None


def _single_classes(dataset: ImageDataset, digests: list[bytes] | None) -> int:
    """How many classes have one image, counting equal pixels once where all are known."""
    assert dataset.labels is not None
    if digests is None:
        return int((np.bincount(dataset.labels, minlength=len(dataset.classes)) == 1).sum())
    by_class: dict[int, set[bytes]] = defaultdict(set)
    for label, digest in zip(dataset.labels.tolist(), digests, strict=True):
        by_class[label].add(digest)
    return sum(len(images) == 1 for images in by_class.values())


def _digest(image: PixelArray) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16).digest()
