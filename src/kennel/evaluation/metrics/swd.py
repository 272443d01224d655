"""The sliced Wasserstein distance of image patches (Karras et al. 2018, arXiv 1710.10196, section 5).

Each image becomes a Laplacian pyramid (Burt and Adelson 1983) from its own size down to 16 pixels: the lowest
level is the shrunk image, each other what shrinking to the next one loses. Of every level, 7x7 patches at
random places are gathered from all images, and each channel brought to mean 0 and deviation 1 over its set.
The two sets of patches are projected on random directions and sorted; the mean absolute difference is W_1,
and its mean over the directions, times 1,000, the level's distance. High levels compare texture, the lowest
the layout. It asks no extractor, and says nothing about what spans more than a patch.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kennel.cancellation import raise_if_cancelled
from kennel.data.images import ImageSource
from kennel.errors import JudgementError

IMAGES, PATCHES, REPEATS, DIRECTIONS = 16_384, 128, 4, 128
"""The paper's: images a side, patches of an image and level, and directions drawn so many times."""
DESCRIPTORS = 2**18
"""The most patches of a side and level: 154 MB in colour. The paper's 2 million would take 1.2 GB."""
LOWEST, PATCH = 16, 7
SCALE = 1000
BATCH, BLOCK, WIDTH = 64, 16_384, 16
"""Images, patches and directions at a time."""
FLAT = 1e-4
"""A channel with a deviation below this, in levels of 255, has none but rounding."""
KERNEL = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)

Float32Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class LaplacianDistance:
    """`distances` of the levels of `sizes` pixels, from the finest to 16, and their `mean`, all times 1,000.

    `images` a side and `patches` of each image and level were used. Two samples of one distribution are not
    0 apart, but by a floor that falls as 1 / sqrt(images): compare only at equal counts.
    """

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

    The count a side is the least of both sets and `images`, drawn at random from a larger set with `seed`;
    where images x patches exceeds `descriptors`, fewer patches of each image are taken. Both sides draw the
    same places, so that a set is exactly 0 from itself. A channel that is level all over a set stays 0
    instead of being divided by 0. Raises `JudgementError` where the shapes differ or are not square with a
    side of 16, 32, 64, ... pixels, and below 2 images a side.
    """
    sizes = _level_sizes(fakes, reference)
    count = min(images, len(fakes), len(reference), descriptors)
    if count < 2 or min(patches, repeats, directions) < 1:
        raise JudgementError(
            f"{count} images, {patches} patches and {repeats} x {directions} directions are too few: at "
            "least 2 images and one of the others are needed"
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
    """`levels` arrays (batch, channels, side, side), each of half the side of the one before.

    Added up from the lowest, each enlarged, they are the images again.
    """
    pyramid = [images]
    for _ in range(levels - 1):
        pyramid.append(shrunk(pyramid[-1]))
        pyramid[-2] = pyramid[-2] - enlarged(pyramid[-1])
    return pyramid


def shrunk(images: Float32Array) -> Float32Array:
    """Smoothed by the binomial kernel 1 4 6 4 1 both ways, edges mirrored, and every other pixel kept."""
    return _smoothed(_smoothed(images, 3, 2), 2, 2)


def enlarged(images: Float32Array) -> Float32Array:
    """Every other pixel from `images`, 0 between, smoothed as `shrunk` does and times 4."""
    batch, channels, height, width = images.shape
    spread = np.zeros((batch, channels, 2 * height, 2 * width), np.float32)
    spread[:, :, ::2, ::2] = images * np.float32(4)
    return _smoothed(_smoothed(spread, 3, 1), 2, 1)


def _smoothed(images: Float32Array, axis: int, stride: int) -> Float32Array:
    """The kernel along one axis, at every `stride`-th place."""
    size = images.shape[axis]
    edges = [(0, 0)] * images.ndim
    edges[axis] = (2, 2)
    padded = np.pad(images, edges, mode="reflect")
    before, after = (slice(None),) * axis, (slice(None),) * (images.ndim - axis - 1)
    parts = (
        np.float32(weight) * padded[(*before, slice(place, place + size, stride), *after)]
        for place, weight in enumerate(KERNEL)
    )
    total = next(parts)
    for part in parts:
        total += part
    return total


def _level_sizes(fakes: ImageSource, reference: ImageSource) -> tuple[int, ...]:
    """The sides of the pyramid's levels; refuses shapes that have none."""
    _, height, side = fakes.shape
    if fakes.shape != reference.shape:
        raise JudgementError(
            f"images of {fakes.shape} and {reference.shape} (channels, height, width) cannot be compared by "
            "their pixels: prepare both sides alike"
        )
    if height != side or side < LOWEST or side & (side - 1):
        raise JudgementError(
            f"a Laplacian pyramid down to 16 pixels needs square images of 16, 32, 64, ... pixels, and these "
            f"are {height} x {side}: prepare both sides at such a size"
        )
    return tuple(side >> level for level in range((side // LOWEST).bit_length()))


def _descriptors(
    images: ImageSource, sizes: tuple[int, ...], count: int, patches: int, seed: int
) -> list[Float32Array]:
    """Of each level (count * patches, channels * 49), each channel with mean 0 and deviation 1."""
    channels = images.shape[0]
    chosen = np.zeros(len(images), bool)
    chosen[np.random.default_rng([seed, len(images)]).permutation(len(images))[:count]] = True
    gathered = [np.empty((count, patches, channels, PATCH, PATCH), np.float32) for _ in sizes]
    places = [np.random.default_rng([seed, size]) for size in sizes]
    seen = done = 0
    for batch in images.batches(BATCH):
        raise_if_cancelled()
        kept = batch[chosen[seen : seen + len(batch)]].astype(np.float32)
        seen += len(batch)
        if not len(kept):
            continue
        for level, part in enumerate(laplacian_pyramid(kept, len(sizes))):
            corners = places[level].integers(0, sizes[level] - PATCH + 1, (len(kept), patches, 2))
            windows = np.lib.stride_tricks.sliding_window_view(part, (PATCH, PATCH), axis=(2, 3))
            gathered[level][done : done + len(kept)] = windows[
                np.arange(len(kept))[:, None], :, corners[..., 0], corners[..., 1]
            ]
        done += len(kept)
    return [_normalised(level.reshape(count * patches, channels, PATCH**2)) for level in gathered]


def _normalised(patches: Float32Array) -> Float32Array:
    """(patches, channels, 49) scaled in place, flattened to (patches, channels * 49)."""
    patches -= patches.mean((0, 2), dtype=np.float64, keepdims=True).astype(np.float32)
    squares = np.zeros(patches.shape[1])
    for start in range(0, len(patches), BLOCK):
        squares += (patches[start : start + BLOCK].astype(np.float64) ** 2).sum((0, 2))
    deviations = np.sqrt(squares / (len(patches) * patches.shape[2]))
    flat = deviations < FLAT
    patches /= np.where(flat, 1, deviations).astype(np.float32)[:, None]
    patches[:, flat] = 0
    return patches.reshape(len(patches), -1)


def _sliced(one: Float32Array, other: Float32Array, count: int, random: np.random.Generator) -> float:
    """The mean W_1 over `count` new directions of two equally many rows."""
    directions = random.normal(size=(count, one.shape[1]))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    total = 0.0
    for start in range(0, count, WIDTH):
        some = directions[start : start + WIDTH].astype(np.float32)
        first, second = np.sort(some @ one.T, axis=1), np.sort(some @ other.T, axis=1)
        total += float(np.abs(first - second).mean(1, dtype=np.float64).sum())
    return total / count
