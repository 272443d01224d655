"""A small set with scarce classes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kennel.data.dataset import ImageDataset
from kennel.data.prepare.writer import PackedWriter


def write_scarce_set(folder: Path, counts: Sequence[int] = (20, 4, 12), size: int = 8) -> ImageDataset:
    """Classes of these counts, gray: a pattern of black and white for each class, with a little noise. Gray
    images, as of an untrained generator, are far from all of them."""
    random = np.random.default_rng(0)
    patterns = 240 * random.integers(0, 2, (len(counts), 1, size, size))
    labels = np.concatenate([np.full(count, label) for label, count in enumerate(counts)])
    folder.mkdir(parents=True)
    writer = PackedWriter(folder, size, tuple(f"class {label}" for label in range(len(counts))), "grey")
    for number, label in enumerate(random.permutation(labels).tolist()):
        pixels = (patterns[label] + random.integers(0, 16, patterns[label].shape)).astype(np.uint8)
        writer.add(pixels, label, f"{label}/{number}.png", keep_duplicate=True)
    writer.finish({})
    writer.close()
    return ImageDataset(folder)
