"""Random generators keyed by what they are for, so that nothing about them has to be saved.

Every draw of a run comes from a fresh generator whose seed is a hash of (seed, rank, images seen, purpose):
a run that was interrupted and resumed draws the same numbers as one that never stopped, and one purpose
drawing more or less does not shift another.
"""

import hashlib

import torch
from torch import Tensor


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


def seed_layers(seed: int, device: torch.device) -> None:
    """Seeds the global generators from which layers on `device` draw, dropout among them.

    `torch.manual_seed` turns to every kind of accelerator, and where one is absent it notes the whole call
    stack each time, which takes longer than a small layer.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed_all(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)
    elif device.type != "cpu":
        torch.manual_seed(seed)


class Draws:
    """Random numbers for the rows of a batch, of which a rank of several has its own part.

    Every draw is made for the whole batch and cut to this rank's rows, so that ranks together draw what one
    process alone would, and a recipe means the same everywhere. Shapes name the rows of this rank, and
    `rows` the axis that counts them.
    """

    def __init__(self, random: torch.Generator, rank: int = 0, ranks: int = 1) -> None:
        """Draws from `random`, on its device, for number `rank` of `ranks` with equally many rows."""
        self.generator = random
        self.rank, self.ranks = rank, ranks

    def uniform(self, *shape: int, rows: int = 0) -> Tensor:
        """Uniform numbers on [0, 1)."""
        drawn = torch.rand(self._whole(shape, rows), generator=self.generator, device=self.generator.device)
        return self.own(drawn, rows)

    def normal(self, *shape: int, rows: int = 0) -> Tensor:
        """Numbers of N(0, 1)."""
        drawn = torch.randn(self._whole(shape, rows), generator=self.generator, device=self.generator.device)
        return self.own(drawn, rows)

    def integers(self, low: int, high: int, *shape: int, rows: int = 0) -> Tensor:
        """Whole numbers from `low` to `high` - 1."""
        whole, device = self._whole(shape, rows), self.generator.device
        return self.own(torch.randint(low, high, whole, generator=self.generator, device=device), rows)

    def own(self, whole: Tensor, rows: int = 0) -> Tensor:
        """This rank's rows of something that was made for the whole batch."""
        count = whole.shape[rows] // self.ranks
        return whole.narrow(rows, self.rank * count, count)

    def _whole(self, shape: tuple[int, ...], rows: int) -> tuple[int, ...]:
        return (*shape[:rows], shape[rows] * self.ranks, *shape[rows + 1 :])
