"""What one rank of `test_distributed` runs, in a process of its own: the ways in which ranks work together.

python one_meeting.py                        with what torchrun puts into the environment
python one_meeting.py stuck (or dead) FOLDER   rank 1 fails, and rank 0 does not hear it
"""

import fcntl
import os
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch

from kennel import distributed
from kennel.cli.console import be_silent, error_sentence, report_error
from kennel.distributed import (
    all_gather_ints,
    all_reduce_sum,
    rank,
    rank_zero_first,
    ranks_together,
    receive_from,
    send_to_rank_0,
    world_size,
)
from kennel.errors import DataError


def well() -> None:
    """All that ranks do where nothing fails; rank 0 prints what it found."""
    told = all_gather_ints(10 + rank(), -(2**62) + rank())
    if rank():
        send_to_rank_0(torch.arange(6.0).view(2, 3).T)
        rows = None
    else:
        rows = receive_from(1, (3, 2)).tolist()
    place = rank_zero_first(rank)
    if rank() == 0:
        print(world_size(), told, rows, place, all_gather_ints(7))
    else:
        all_gather_ints(8)


def first_fails() -> None:
    """Rank 0 fails where the other waits for a tensor's turn."""
    if rank() == 0:
        raise OSError(28, "No space left on device")
    all_gather_ints(1)


def second_fails() -> None:
    """Rank 1 fails with a sentence while rank 0 is on its way to the end."""
    if rank() == 1:
        raise DataError("7.png is damaged: mend or remove it")


def bug() -> None:
    """Rank 1 fails as nobody foresaw."""
    if rank() == 1:
        raise ZeroDivisionError("by zero")
    all_gather_ints(1)


def cannot_sum() -> None:
    """What no rank can sum."""
    all_reduce_sum(torch.ones(2, dtype=torch.int16))


def one_cannot_sum() -> None:
    """Rank 1 fails in a sum for which rank 0 waits."""
    with pytest.MonkeyPatch.context() as patch:
        if rank():
            patch.setattr(distributed.distributed, "all_reduce", _out_of_memory)
        all_reduce_sum(torch.ones(2))


def _out_of_memory(*_tensors: object, **_options: object) -> None:
    raise RuntimeError("CUDA out of memory\nand more lines")


def beside_cuda() -> None:
    """Rank 1 fails while rank 0, whose machine has a GPU, waits in a sum on the CPU."""
    if rank():
        raise DataError("8.png is damaged: mend or remove it")
    all_reduce_sum(torch.ones(2))


def with_cuda(patch: pytest.MonkeyPatch) -> None:
    """As if the machine had a GPU, but for the default group, which is made without NCCL."""
    plain = torch.distributed.init_process_group

    def started(backend: str, *, timeout: timedelta, **options: Any) -> None:
        assert backend == "cpu:gloo,cuda:nccl"
        assert timeout >= distributed.BATCH_TIMEOUT
        plain("gloo", timeout=timeout, **options)

    patch.setattr(torch.cuda, "is_available", lambda: True)
    patch.setattr(torch.distributed, "is_nccl_available", lambda: True)
    patch.setattr(torch.distributed, "init_process_group", started)


def death() -> None:
    """Rank 1 is gone without a word."""
    if rank() == 1:
        os._exit(9)
    all_gather_ints(1)


CASES = (well, first_fails, second_fails, bug, cannot_sum, one_cannot_sum, beside_cuda, death)


def ended(case: Callable[[], None]) -> str:
    """How a case went, with what rank 0 reports."""
    reported = []
    try:
        with pytest.MonkeyPatch.context() as patch:
            if case is beside_cuda and os.environ["RANK"] == "0":
                with_cuda(patch)
            with ranks_together(
                lambda error: reported.append(str(error)), lambda error: f"in words: {error}"
            ):
                case()
    except (SystemExit, ZeroDivisionError) as error:
        return f"{error!r} {reported}"
    return f"well {reported}"


def unheard(other: str, folder: Path) -> None:
    """Rank 1 fails while rank 0 is stuck until rank 1 has gone, or is dead itself."""
    with ranks_together(report_error, error_sentence):
        own = os.open(folder / str(rank()), os.O_CREAT | os.O_RDWR)
        fcntl.flock(own, fcntl.LOCK_EX)  # as long as the process is there
        all_gather_ints()
        if rank():
            be_silent()
            if other == "dead":
                wait_for_the_end_of(0, folder)
            raise DataError("7.png is damaged: mend or remove it")
        if other == "stuck":
            wait_for_the_end_of(1, folder)
            print("the other has left", flush=True)
        os._exit(9)


def wait_for_the_end_of(place: int, folder: Path) -> None:
    """Until this rank's process is gone; it must not take half a minute."""
    its = os.open(folder / str(place), os.O_RDWR)
    for _ in range(300):
        try:
            fcntl.flock(its, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError("it does not leave")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        distributed.ERROR_TIMEOUT = timedelta(seconds=1)
        distributed.SHUTDOWN_TIMEOUT = timedelta(seconds=0.5)
        unheard(sys.argv[1], Path(sys.argv[2]))
    else:
        for case in CASES:
            print(ended(case), flush=True)
