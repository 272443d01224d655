"""Random generators keyed by their purpose, so that no generator state has to be saved.

Every draw of a run uses a new generator, seeded with a hash of (seed, rank, images seen, purpose). A resumed
run draws the same numbers as an uninterrupted one, and draws for one purpose do not affect another.
"""

import hashlib

import torch
from torch import Tensor


def key(seed: int, purpose: str, images_seen: int = 0, rank: int = 0) -> int:
    """A 63-bit seed: the BLAKE2b hash of the arguments."""
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
    """Seeds the global generators that layers on `device` use, such as dropout.

    `torch.manual_seed` would also seed other kinds of accelerators, and for a missing one it records the call
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
    """Random numbers for this rank's rows of a batch.

    Every draw is made for the whole batch and cut to this rank's rows, so that several ranks together draw
    what one process would. Shapes are those of this rank; `rows` is the axis of the batch.
    """

    def __init__(self, random: torch.Generator, rank: int = 0, ranks: int = 1) -> None:
        """Draws from `random`, on its device; all ranks have equally many rows."""
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
        """This rank's rows of a tensor for the whole batch."""
        count = whole.shape[rows] // self.ranks
        return whole.narrow(rows, self.rank * count, count)

    def _whole(self, shape: tuple[int, ...], rows: int) -> tuple[int, ...]:
        return (*shape[:rows], shape[rows] * self.ranks, *shape[rows + 1 :])
