"""The order in which an epoch shows its images: a permutation drawn from (seed, epoch), some at a time.

Small sets take `torch.randperm`, which makes the whole permutation at once. For tens of millions of images
that would be hundreds of megabytes and seconds of waiting at each epoch's beginning; these take a permutation
that is computed where it is asked for: a Feistel network (Luby and Rackoff 1988) on the bits of the position,
walked on until it lands inside the set (Black and Rogaway 2002, "cycle walking").
"""

from collections import OrderedDict

import numpy as np
import numpy.typing as npt
import torch

from kennel import rng
from kennel.shapes import Indices

TABLE_IMAGES = 1 << 22
"""Sets of up to so many images (a table of 32 MiB) take `torch.randperm`."""
BLOCK = 1 << 16
"""Positions of a larger set that are computed at once."""
ROUNDS = 8

Positions = npt.NDArray[np.uint64]


class EpochShuffle:
    """Which image is at each place of the endless stream; every image once an epoch.

    `at` gives places one after the other; only what surrounds the last ones is held.
    """

    def __init__(
        self,
        count: int,
        seed: int,
        device: torch.device | None = None,
        table_images: int = TABLE_IMAGES,
    ) -> None:
        """For a set of `count` images; indices are given on `device`, to which they travel in blocks."""
        self._count, self._seed = count, seed
        self._device = device or torch.device("cpu")
        self._block = count if count <= table_images else BLOCK
        self._is_table = count <= table_images
        self._blocks: OrderedDict[tuple[int, int], torch.Tensor] = OrderedDict()

    def at(self, position: int, wanted: int) -> Indices:
        """The images (wanted,) at places `position`, `position + 1`, ... of the stream, int64."""
        pieces = []
        while wanted > 0:
            epoch, offset = divmod(position, self._count)
            number, first = divmod(offset, self._block)
            pieces.append(self._indices(epoch, number)[first : first + wanted])
            position += len(pieces[-1])
            wanted -= len(pieces[-1])
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces)

    def _indices(self, epoch: int, number: int) -> torch.Tensor:
        """A block of an epoch; the newest two are kept, since a batch can touch two."""
        place = (epoch, number)
        if place not in self._blocks:
            indices = self._made(epoch, number)
            # From pinned memory, so that nobody waits for what the device has still to do. On other devices
            # than CUDA such a copy may read what has been freed meanwhile.
            pinned = self._device.type == "cuda"
            if pinned:
                indices = indices.pin_memory()
            self._blocks[place] = indices.to(self._device, non_blocking=pinned)
            while len(self._blocks) > 2:
                self._blocks.popitem(last=False)
        return self._blocks[place]

    def _made(self, epoch: int, number: int) -> torch.Tensor:
        purpose = f"order of epoch {epoch}"
        if self._is_table:
            return torch.randperm(self._count, generator=rng.generator(self._seed, purpose))
        first = number * self._block
        positions = np.arange(first, min(first + self._block, self._count), dtype=np.uint64)
        keys = [rng.key(self._seed, f"{purpose}, round {number}") for number in range(ROUNDS)]
        return torch.from_numpy(permuted(positions, self._count, keys).astype(np.int64))


def permuted(positions: Positions, count: int, keys: list[int]) -> Positions:
    """Where a keyed permutation of 0..count-1 takes each of `positions`; `keys` are 63-bit, one a round.

    Of a permutation of the 2^k numbers just above `count` those that land outside are taken on until they
    land inside: on average fewer than twice, and still one to one.
    """
    bits = max(2, (count - 1).bit_length())
    values = _feistel(positions, bits, keys)
    outside = np.flatnonzero(values >= count)
    while len(outside):
        values[outside] = _feistel(values[outside], bits, keys)
        outside = outside[values[outside] >= count]
    return values


def _feistel(values: Positions, bits: int, keys: list[int]) -> Positions:
    """A permutation of the numbers of `bits` bits: each half in turn changes by the other."""
    low = np.uint64(bits // 2)
    left, right = values >> low, values & _ones(bits // 2)
    for number, key in enumerate(keys):
        if number % 2:
            right ^= _mixed(left, key) & _ones(bits // 2)
        else:
            left ^= _mixed(right, key) & _ones(bits - bits // 2)
    return (left << low) | right


def _mixed(values: Positions, key: int) -> Positions:
    """64 well-mixed bits of each value and the key: SplitMix's finaliser (Steele, Lea and Flood 2014)."""
    mixed = values ^ np.uint64(key)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def _ones(bits: int) -> np.uint64:
    return np.uint64((1 << bits) - 1)
