"""Random generators keyed by what they are for, so that nothing about them has to be saved.

Every draw of a run comes from a fresh generator whose seed is a hash of (seed, rank, images seen, purpose):
a run that was interrupted and resumed draws the same numbers as one that never stopped, and one purpose
drawing more or less does not shift another.
"""

import hashlib

import torch


def key(seed: int, purpose: str, images_seen: int = 0, rank: int = 0) -> int:
    """A 63-bit key for a random generator: BLAKE2b of all that the draw depends on."""
    text = f"kennel/{seed}/{rank}/{images_seen}/{purpose}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def generator(
    seed: int,
    purpose: str,
    images_seen: int = 0,
    rank: int = 0,
    device: torch.device | str = "cpu",
) -> torch.Generator:
    """A `torch.Generator` on `device`, seeded with `key(...)`."""
    return torch.Generator(device=device).manual_seed(key(seed, purpose, images_seen, rank))
