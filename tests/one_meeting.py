"""What one rank of `test_distributed` runs, in a process of its own: the ways in which ranks work together.

python one_meeting.py   with what torchrun puts into the environment
"""

import os
from collections.abc import Callable

import torch

from kennel.distributed import (
    after_rank_0,
    meet,
    rank,
    ranks_together,
    received_from,
    send_to_rank_0,
    world_size,
)
from kennel.errors import DataError


def well() -> None:
    """All that ranks do where nothing fails; rank 0 prints what it found."""
    told = meet(10 + rank(), -(2**62) + rank())
    if rank():
        send_to_rank_0(torch.arange(6.0).view(2, 3).T)
        rows = None
    else:
        rows = received_from(1, (3, 2)).tolist()
    place = after_rank_0(rank)
    if rank() == 0:
        print(world_size(), told, rows, place, meet(7))
    else:
        meet(8)


def first_fails() -> None:
    """Rank 0 fails where the other waits for a tensor's turn."""
    if rank() == 0:
        raise OSError(28, "No space left on device")
    meet(1)


def second_fails() -> None:
    """Rank 1 fails with a sentence while rank 0 is on its way to the end."""
    if rank() == 1:
        raise DataError("7.png is damaged: mend or remove it")


def bug() -> None:
    """Rank 1 fails as nobody foresaw."""
    if rank() == 1:
        raise ZeroDivisionError("by zero")
    meet(1)


def death() -> None:
    """Rank 1 is gone without a word."""
    if rank() == 1:
        os._exit(9)
    meet(1)


CASES = (well, first_fails, second_fails, bug, death)


def ended(case: Callable[[], None]) -> str:
    """How a case went, with what rank 0 reports."""
    reported = []
    try:
        with ranks_together(lambda error: reported.append(str(error)), lambda error: f"in words: {error}"):
            case()
    except (SystemExit, ZeroDivisionError) as error:
        return f"{error!r} {reported}"
    return f"well {reported}"


if __name__ == "__main__":
    for case in CASES:
        print(ended(case), flush=True)
