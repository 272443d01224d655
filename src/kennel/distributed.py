"""All of torch.distributed: how many ranks there are, which one this is, and how they work together.

Ranks that were started by torchrun join in `ranks_together`. They speak in meetings, which all of them reach
in the same order; a rank that fails says so at its next meeting, and all end there with its sentence.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, distributed

from kennel.errors import KennelError, RankError

T = TypeVar("T")
JOINING = timedelta(minutes=10)
"""How long a rank waits for the others to appear."""
ROUND = timedelta(minutes=30)
"""How long it waits for one that has a batch to do."""
PATIENCE = timedelta(days=7)
"""How long it waits for one that has much to do: a download, or all metrics of many images."""
NUMBERS = 2
"""What each rank brings to a meeting at most."""
SENTENCE_BYTES = 2048
TORCHRUN = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")

_meetings: list[Any] = []
"""The group of `meet`, on the CPU and patient, where there is one."""


def _running() -> bool:
    return distributed.is_available() and distributed.is_initialized()


def world_size() -> int:
    """How many ranks work together; 1 where no process group was started."""
    return distributed.get_world_size() if _running() else 1


def rank() -> int:
    """Which of them this process is, from 0; 0 where no process group was started."""
    return distributed.get_rank() if _running() else 0


def own_device(device: torch.device) -> torch.device:
    """Where this rank computes: of "cuda" without a number its own GPU, by its place on this machine.

    Raises `RankError` where the machine has fewer GPUs than ranks.
    """
    if not _running() or device.type != "cuda" or device.index is not None:
        return device
    place, found = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if place >= found:
        raise RankError(
            f"this machine has {found} GPU{'' if found == 1 else 's'} and more ranks: start torchrun with "
            f"--nproc-per-node {found}, or name one GPU for all with --device cuda:0"
        )
    torch.cuda.set_device(place)
    return torch.device("cuda", place)


@contextmanager
def ranks_together(
    report: Callable[[Exception], None], sentence: Callable[[Exception], str]
) -> Iterator[None]:
    """The block runs on all ranks that torchrun's environment describes; without one, on this process alone.

    Tensors on the CPU go by gloo, those on CUDA by NCCL. The end of the block is a meeting. Where the block
    fails on a rank, every rank ends with `SystemExit(2)` after rank 0 has given the error to `report`; other
    ranks' errors reach it as a `RankError` in the words of `sentence`. An error that nobody foresaw keeps its
    traceback on its own rank. Alone, errors pass through as they are.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or not all(name in os.environ for name in TORCHRUN):
        yield
        return
    _join()
    try:
        yield
        meet(patient=True)
    except Exception as error:
        foreseen = isinstance(error, KennelError | OSError)
        if not isinstance(error, RankError):
            words = sentence(error) if foreseen else f"rank {rank()} failed by {error!r}: see its traceback"
            _exchange(PATIENCE, failure=words)
        if foreseen and rank() == 0:
            report(error)
        # torchrun ends all ranks at the first one's exit: not before rank 0 has spoken.
        _everyone_is_here()
        if foreseen:
            raise SystemExit(2) from error
        raise
    finally:
        _leave()


def _join() -> None:
    on_cuda = torch.cuda.is_available() and distributed.is_nccl_available()
    try:
        distributed.init_process_group("cpu:gloo,cuda:nccl" if on_cuda else "gloo", timeout=JOINING)
        _meetings.append(distributed.new_group(timeout=PATIENCE, backend="gloo"))
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise RankError(
            f"the ranks that torchrun started do not find one another ({reason}): start them again"
        ) from error


def _leave() -> None:
    _meetings.clear()
    distributed.destroy_process_group()


def meet(*numbers: int, patient: bool = False) -> list[tuple[int, ...]]:
    """Waits for all ranks and gives each one's `numbers`, as many everywhere and at most 2, by rank.

    Every rank must come to it equally often; `patient` where one may have much to do before. Raises
    `RankError` where a rank has failed, in its words, or has died. Alone it gives the own numbers.
    """
    if not _meetings:
        return [numbers]
    return [told[: len(numbers)] for told in _exchange(PATIENCE if patient else ROUND, numbers)]


def _exchange(
    patience: timedelta, numbers: tuple[int, ...] = (), failure: str | None = None
) -> list[tuple[int, ...]]:
    """One meeting: heads of one size, and where a rank has failed the sentence of the first that has."""
    head = torch.zeros(1 + NUMBERS, dtype=torch.int64)
    head[0] = failure is not None
    head[1 : 1 + len(numbers)] = torch.tensor(numbers, dtype=torch.int64)
    heads = [torch.empty_like(head) for _ in range(world_size())]
    _wait(distributed.all_gather(heads, head, group=_meetings[0], async_op=True), patience)
    failed = [place for place, (has_failed, *_) in enumerate(heads) if has_failed]
    if failed:
        sentence = _sentence_of(failed[0], failure or "")
        if failure is None:
            raise RankError(sentence)
    return [tuple(each[1:].tolist()) for each in heads]


def _sentence_of(place: int, own: str) -> str:
    """What rank `place` says, on all ranks."""
    said = bytearray(own.encode()[:SENTENCE_BYTES].ljust(SENTENCE_BYTES, b"\0"))
    letters = torch.frombuffer(said, dtype=torch.uint8)
    _wait(distributed.broadcast(letters, place, group=_meetings[0], async_op=True), ROUND)
    return bytes(letters.tolist()).rstrip(b"\0").decode(errors="ignore")


def send_to_rank_0(tensor: Tensor) -> None:
    """Sends a tensor of the CPU, whose shape rank 0 knows; it asks for it by `received_from`."""
    _wait(distributed.isend(tensor.contiguous(), 0, group=_meetings[0]), ROUND)


def received_from(place: int, shape: tuple[int, ...]) -> Tensor:
    """The float32 tensor of this shape that rank `place` sends."""
    tensor = torch.empty(shape)
    _wait(distributed.irecv(tensor, place, group=_meetings[0]), ROUND)
    return tensor


def after_rank_0(make: Callable[[], T]) -> T:
    """What `make` gives, on rank 0 before the others begin: for what leaves a file that all can use."""
    if rank():
        meet(patient=True)
        return make()
    made = make()
    meet(patient=True)
    return made


def _everyone_is_here() -> None:
    """Waits until all ranks are here or gone: which of the two is the same to one that leaves."""
    with suppress(RankError):
        _wait(distributed.barrier(group=_meetings[0], async_op=True), ROUND)


def _wait(work: Any, patience: timedelta) -> None:
    try:
        work.wait(patience)
    except RuntimeError as error:
        raise RankError(
            f"another rank has died, or was not heard of for {patience}: look for what it said, "
            "and start all of them again"
        ) from error


def summed_over_ranks(tensor: Tensor) -> Tensor:
    """The sum of every rank's `tensor` (of one shape everywhere), on every rank; gradients flow through it.

    The gradient that a rank gets is the sum of the gradients of every rank's loss, so that after `backward`
    on each rank, parameters' gradients summed over the ranks are those of the sum of all losses. Every rank
    must go through it, forward and backward, equally often.
    """
    return cast(Tensor, _Sum.apply(tensor)) if _running() else tensor  # type: ignore[no-untyped-call]


class _Sum(torch.autograd.Function):
    """Every rank's input reaches every rank's output with weight 1, so the backward is the same sum."""

    @staticmethod
    def forward(_context: Any, tensor: Tensor) -> Tensor:
        total = tensor.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(_context: Any, gradient: Tensor) -> Tensor:
        return summed_over_ranks(gradient)
