"""The order of images in an epoch: a permutation keyed by (seed, epoch), computed in blocks.

Small sets use `torch.randperm`. For tens of millions of images that takes hundreds of megabytes and seconds
per epoch, so larger sets use a permutation that is computed on demand: a Feistel network (Luby and Rackoff
1988) on the bits of the position, repeated until it lands inside the set (Black and Rogaway 2002, "cycle
walking").
"""

from collections import OrderedDict

import numpy as np
import numpy.typing as npt
import torch

from kennel import rng
from kennel.shapes import Indices

TABLE_IMAGES = 1 << 22
"""Sets of up to this many images (a table of 32 MiB) use `torch.randperm`."""
BLOCK = 1 << 16
"""Positions of a larger set that are computed together."""
ROUNDS = 8

Positions = npt.NDArray[np.uint64]


class EpochShuffle:
    """The image at each position of the endless stream; every image once per epoch."""

    def __init__(
        self, count: int, seed: int, device: torch.device | None = None, table_images: int = TABLE_IMAGES
    ) -> None:
        """For a set of `count` images. Indices are given on `device`."""
        self._count, self._seed = count, seed
        self._device = device or torch.device("cpu")
        self._block = count if count <= table_images else BLOCK
        self._is_table = count <= table_images
        self._blocks: OrderedDict[tuple[int, int], torch.Tensor] = OrderedDict()

    def at(self, position: int, length: int) -> Indices:
        """The images (length,) at `position`, `position + 1`, ... of the stream, int64."""
        pieces = []
        while length > 0:
            epoch, offset = divmod(position, self._count)
            block, first = divmod(offset, self._block)
            pieces.append(self._indices(epoch, block)[first : first + length])
            position += len(pieces[-1])
            length -= len(pieces[-1])
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces)

    def _indices(self, epoch: int, block: int) -> torch.Tensor:
        """A block of an epoch. The newest two are cached, since a batch can span two."""
        key = (epoch, block)
        if key not in self._blocks:
            indices = self._compute(epoch, block)
            # From pinned memory the host does not wait for the device. On devices other than CUDA such a copy
            # could read freed memory.
            pinned = self._device.type == "cuda"
            if pinned:
                indices = indices.pin_memory()
            self._blocks[key] = indices.to(self._device, non_blocking=pinned)
            while len(self._blocks) > 2:
                self._blocks.popitem(last=False)
        return self._blocks[key]

    def _compute(self, epoch: int, block: int) -> torch.Tensor:
        purpose = f"order of epoch {epoch}"
        if self._is_table:
            return torch.randperm(self._count, generator=rng.generator(self._seed, purpose))
        first = block * self._block
        positions = np.arange(first, min(first + self._block, self._count), dtype=np.uint64)
        keys = [rng.key(self._seed, f"{purpose}, round {number}") for number in range(ROUNDS)]
        return torch.from_numpy(permuted(positions, self._count, keys).astype(np.int64))


class RepeatedShuffle(EpochShuffle):
    """`EpochShuffle` of a list of images in which some occur several times."""

    def __init__(
        self,
        rows: torch.Tensor,
        seed: int,
        device: torch.device | None = None,
        table_images: int = TABLE_IMAGES,
    ) -> None:
        """For the images `rows`, int64 (count,) on the CPU. Indices are given on `device`."""
        super().__init__(len(rows), seed, device, table_images)
        self._rows = rows

    def _compute(self, epoch: int, block: int) -> torch.Tensor:
        return self._rows[super()._compute(epoch, block)]


def permuted(positions: Positions, count: int, keys: list[int]) -> Positions:
    """Where a keyed permutation of 0..count-1 takes each of `positions`; `keys` are 63-bit, one per round.

    It permutes the next power of two; results outside the set are permuted again until they are inside. That
    takes fewer than two passes on average and stays one-to-one.
    """
    bits = max(2, (count - 1).bit_length())
    values = _feistel(positions, bits, keys)
    outside = np.flatnonzero(values >= count)
    while len(outside):
        values[outside] = _feistel(values[outside], bits, keys)
        outside = outside[values[outside] >= count]
    return values


def _feistel(values: Positions, bits: int, keys: list[int]) -> Positions:
    """A permutation of the `bits`-bit numbers: the halves alternately change each other."""
    low = np.uint64(bits // 2)
    left, right = values >> low, values & _mask(bits // 2)
    for number, key in enumerate(keys):
        if number % 2:
            right ^= _mix(left, key) & _mask(bits // 2)
        else:
            left ^= _mix(right, key) & _mask(bits - bits // 2)
    return (left << low) | right


def _mix(values: Positions, key: int) -> Positions:
    """64 mixed bits of each value and the key: SplitMix's finalizer (Steele, Lea and Flood 2014)."""
    mixed = values ^ np.uint64(key)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def _mask(bits: int) -> np.uint64:
    return np.uint64((1 << bits) - 1)
