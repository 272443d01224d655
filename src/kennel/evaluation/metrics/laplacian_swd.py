"""The sliced Wasserstein distance of image patches (Karras et al. 2018, arXiv 1710.10196, section 5).

Each image becomes a Laplacian pyramid (Burt and Adelson 1983) from its size down to 16 pixels: the lowest
level is the downsampled image, each other level is what the next downsampling loses. From each level, 7x7
patches at random positions are collected over all images, and each channel is normalized to mean 0 and
deviation 1. Both sets of patches are projected on random directions and sorted; the mean absolute difference
is W_1, and the level's distance is its mean over directions, times 1,000. High levels compare texture, the
lowest compares layout. It needs no extractor, and does not see structure beyond a patch.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kennel.cancellation import raise_if_cancelled
from kennel.data.images import ImageSource
from kennel.errors import JudgementError

IMAGES, PATCHES, REPEATS, DIRECTIONS = 16_384, 128, 4, 128
"""The paper's: images a side, patches of an image and level, repetitions, and directions in each."""
DESCRIPTORS = 2**18
"""The maximum number of patches of a side and level: 154 MB in color. The paper's 2 million would take 1.2
GB."""
LOWEST, PATCH = 16, 7
SCALE = 1000
BATCH, BLOCK, DIRECTION_BATCH = 64, 16_384, 16  # Images, patches and directions at a time
MIN_DEVIATION = 1e-4  # A channel with a smaller deviation, in levels of 255, counts as constant
KERNEL = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)

Float32Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class LaplacianDistance:
    """`distances` of the levels of `sizes` pixels, from the finest to 16, and their `mean`, all times 1,000.
    `images` a side and `patches` of each image and level were used. Two samples of one distribution have a
    positive distance that falls as 1 / sqrt(images): compare only at equal counts."""

    mean: float
    sizes: tuple[int, ...]
    distances: tuple[float, ...]
    images: int
    patches: int


def laplacian_distance(
    fakes: ImageSource,
    reference: ImageSource,
    images: int = IMAGES,
    patches: int = PATCHES,
    descriptors: int = DESCRIPTORS,
    repeats: int = REPEATS,
    directions: int = DIRECTIONS,
    seed: int = 0,
) -> LaplacianDistance:
    """The distance between two sets of square uint8 images of one shape, each read once.

    The count a side is the minimum of both sets, `images` and `descriptors`; a random subset of a larger set
    is drawn with `seed`. If images x patches exceeds `descriptors`, fewer patches of each image are taken.
    Both sides use the same positions, so a set has exactly 0 to itself. Constant channels stay 0. Raises
    `JudgementError` if the shapes differ or are not squares with a side of 16, 32, 64, ... pixels, and below
    2 images a side.
    """
    sizes = _level_sizes(fakes, reference)
    count = min(images, len(fakes), len(reference), descriptors)
    if count < 2 or min(patches, repeats, directions) < 1:
        raise JudgementError(
            f"{count} images, {patches} patches and {repeats} x {directions} directions are too few: give at "
            "least 2 images and 1 of the others"
        )
    patches = min(patches, descriptors // count)
    sides = [_descriptors(side, sizes, count, patches, seed) for side in (fakes, reference)]
    distances = []
    for level, (one, other) in enumerate(zip(*sides, strict=True)):
        random = np.random.default_rng([seed, level])
        distances.append(
            SCALE * float(np.mean([_sliced(one, other, directions, random) for _ in range(repeats)]))
        )
    return LaplacianDistance(float(np.mean(distances)), sizes, tuple(distances), count, patches)


def laplacian_pyramid(images: Float32Array, levels: int) -> list[Float32Array]:
    """`levels` arrays (batch, channels, side, side), each with half the side of the one before. The images
    are their sum, from the lowest, each upsampled."""
    pyramid = [images]
    for _ in range(levels - 1):
        pyramid.append(downsample(pyramid[-1]))
        pyramid[-2] = pyramid[-2] - upsample(pyramid[-1])
    return pyramid


def downsample(images: Float32Array) -> Float32Array:
    """Blurs with the binomial kernel 1 4 6 4 1 in both directions, edges mirrored, and keeps every other
    pixel."""
    return _blur(_blur(images, 3, 2), 2, 2)


def upsample(images: Float32Array) -> Float32Array:
    """Inserts zeros between pixels, blurs like `downsample`, and multiplies by 4."""
    batch, channels, height, width = images.shape
    spread = np.zeros((batch, channels, 2 * height, 2 * width), np.float32)
    spread[:, :, ::2, ::2] = images * np.float32(4)
    return _blur(_blur(spread, 3, 1), 2, 1)


def _blur(images: Float32Array, axis: int, stride: int) -> Float32Array:
    """Convolves with the kernel along one axis, with a stride."""
    size = images.shape[axis]
    edges = [(0, 0)] * images.ndim
    edges[axis] = (2, 2)
    padded = np.pad(images, edges, mode="reflect")
    before = (slice(None),) * axis
    parts = (
        np.float32(weight) * padded[(*before, slice(start, start + size, stride))]
        for start, weight in enumerate(KERNEL)
    )
    total = next(parts)
    for part in parts:
        total += part
    return total


def _level_sizes(fakes: ImageSource, reference: ImageSource) -> tuple[int, ...]:
    """The sides of the pyramid's levels; raises `JudgementError` for other shapes."""
    _, height, side = fakes.shape
    if fakes.shape != reference.shape:
        raise JudgementError(
            f"images of {fakes.shape} and {reference.shape} (channels, height, width) cannot be compared by "
            "their pixels: prepare both sides in the same way"
        )
    if height != side or side < LOWEST or side & (side - 1):
        raise JudgementError(
            f"a Laplacian pyramid needs square images of 16, 32, 64, ... pixels, and these are {height} x "
            f"{side}: prepare both sides at such a size"
        )
    return tuple(side >> level for level in range((side // LOWEST).bit_length()))


def _descriptors(
    images: ImageSource, sizes: tuple[int, ...], count: int, patches: int, seed: int
) -> list[Float32Array]:
    """For each level (count * patches, channels * 49), each channel with mean 0 and deviation 1."""
    channels = images.shape[0]
    chosen = np.zeros(len(images), bool)
    chosen[np.random.default_rng([seed, len(images)]).permutation(len(images))[:count]] = True
    collected = [np.empty((count, patches, channels, PATCH, PATCH), np.float32) for _ in sizes]
    randoms = [np.random.default_rng([seed, size]) for size in sizes]
    seen = done = 0
    for batch in images.batches(BATCH):
        raise_if_cancelled()
        kept = batch[chosen[seen : seen + len(batch)]].astype(np.float32)
        seen += len(batch)
        if not len(kept):
            continue
        for level, part in enumerate(laplacian_pyramid(kept, len(sizes))):
            corners = randoms[level].integers(0, sizes[level] - PATCH + 1, (len(kept), patches, 2))
            windows = np.lib.stride_tricks.sliding_window_view(part, (PATCH, PATCH), axis=(2, 3))
            collected[level][done : done + len(kept)] = windows[
                np.arange(len(kept))[:, None], :, corners[..., 0], corners[..., 1]
            ]
        done += len(kept)
    return [_normalize(level.reshape(count * patches, channels, PATCH**2)) for level in collected]


def _normalize(patches: Float32Array) -> Float32Array:
    """(patches, channels, 49) normalized in place, flattened to (patches, channels * 49)."""
    patches -= patches.mean((0, 2), dtype=np.float64, keepdims=True).astype(np.float32)
    squares = np.zeros(patches.shape[1])
    for start in range(0, len(patches), BLOCK):
        squares += (patches[start : start + BLOCK].astype(np.float64) ** 2).sum((0, 2))
    deviations = np.sqrt(squares / (len(patches) * patches.shape[2]))
    constant = deviations < MIN_DEVIATION
    patches /= np.where(constant, 1, deviations).astype(np.float32)[:, None]
    patches[:, constant] = 0
    return patches.reshape(len(patches), -1)


def _sliced(one: Float32Array, other: Float32Array, count: int, random: np.random.Generator) -> float:
    """The mean W_1 over `count` new directions, for equal numbers of rows."""
    directions = random.normal(size=(count, one.shape[1]))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    total = 0.0
    for start in range(0, count, DIRECTION_BATCH):
        part = directions[start : start + DIRECTION_BATCH].astype(np.float32)
        first, second = np.sort(part @ one.T, axis=1), np.sort(part @ other.T, axis=1)
        total += float(np.abs(first - second).mean(1, dtype=np.float64).sum())
    return total / count
