"""All of torch.distributed: how many ranks there are, which one this is, and how they work together.

Ranks that were started by torchrun join in `ranks_together`. They speak in meetings, which all of them reach
in the same order; a rank that fails says so at its next meeting, and all end there with its sentence.

Ranks that train share every batch: each has its `own_rows`. A loss that every rank computes from its rows has
the whole batch's gradient as the mean over the ranks of the parameters' gradients, if it is a mean over rows
or goes by the whole batch's values, from `mean_over_ranks` and `gathered`: the gradient that these two hand
to a rank is that of the sum of all ranks' losses.
"""

import json
import os
import secrets
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, distributed
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous
from torch.nn.functional import pad

from kennel.errors import CollectiveAbortedError, KennelError, RankError, RankTimeoutError, RemoteRankError

T = TypeVar("T")
JOIN_TIMEOUT = timedelta(minutes=10)
"""How long a rank waits for the others to appear."""
ROUND = timedelta(minutes=30)
"""How long it waits for one that has a batch to do."""
PATIENCE = timedelta(days=7)
"""How long it waits for one that has much to do: a download, or all metrics of many images."""
ERROR_TIMEOUT = timedelta(minutes=1)
"""How long a rank that has failed waits for the others to hear of it."""
SHUTDOWN_TIMEOUT = timedelta(seconds=10)
"""How long it takes leave of them, when something may be pending."""
NUMBERS = 2
"""What each rank brings to a meeting at most."""
SENTENCE_BYTES = 2048
TORCHRUN = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")

_meetings: list[Any] = []
"""The group of `meet`, on the CPU and patient, where there is one."""
_tensors: list[Any] = []
"""The group whose ranks sum tensors on the CPU: one that can be broken off apart from the meetings'."""
_alone: list[None] = []
"""As long as the blocks of `alone` that are open."""


def _running() -> bool:
    return not _alone and distributed.is_available() and distributed.is_initialized()


def world_size() -> int:
    """How many ranks work together; 1 where no process group was started."""
    return distributed.get_world_size() if _running() else 1


def rank() -> int:
    """Which of them this process is, from 0; 0 where no process group was started."""
    return distributed.get_rank() if _running() else 0


@contextmanager
def single_process() -> Iterator[None]:
    """In the block this process is the only rank: for what one rank computes without the others."""
    _alone.append(None)
    try:
        yield
    finally:
        _alone.pop()


def shard_slice(batch: int) -> slice:
    """Which rows of a batch of `batch` images are this rank's; the ranks must divide it."""
    count = batch // world_size()
    return slice(rank() * count, (rank() + 1) * count)


@contextmanager
def ranks_together(
    report: Callable[[Exception], None], sentence: Callable[[Exception], str]
) -> Iterator[None]:
    """The block runs on all ranks that torchrun's environment describes; without one, on this process alone.

    Tensors on the CPU go by gloo, those on CUDA by NCCL. The end of the block is a meeting. Where the block
    fails on a rank, every rank ends with `SystemExit(2)` after rank 0 has given the error to `report`; other
    ranks' errors reach it as a `RankError` in the words of `sentence`. Where not all ranks hear of it within
    `TELLING`, each that knows an error reports its own and leaves: torchrun ends the others. An error that
    nobody foresaw keeps its traceback on its own rank. Alone, errors pass through as they are.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or not all(name in os.environ for name in TORCHRUN):
        yield
        return
    is_well = False
    _join()
    try:
        yield
        all_gather_ints(patient=True)
        is_well = True
    except Exception as given:
        error, is_known = _made_known(given, sentence)
        foreseen = isinstance(error, KennelError | OSError)
        if foreseen and (rank() == 0 or not is_known):
            report(error)
        if is_known:
            # torchrun ends all ranks at the first one's exit: not before rank 0 has spoken.
            _everyone_is_here()
        if foreseen:
            raise SystemExit(2) from given
        raise
    finally:
        _leave(patiently=is_well)


def _made_known(given: Exception, sentence: Callable[[Exception], str]) -> tuple[Exception, bool]:
    """What this rank ends with, and whether every other rank knows of it."""
    failed_at = time.time_ns()
    _break_off()
    if isinstance(given, RemoteRankError | RankTimeoutError):
        return given, isinstance(given, RemoteRankError)
    foreseen = isinstance(given, KennelError | OSError)
    words = sentence(given) if foreseen else f"rank {rank()} failed by {given!r}: see its traceback"
    try:
        if isinstance(given, CollectiveAbortedError):
            _exchange(ERROR_TIMEOUT)  # where another rank has failed, this one hears why
        first = _told_failure(words, failed_at)
    except RemoteRankError as told:
        return told, True
    except RankTimeoutError:
        return given, False
    # Of ranks that were all cut off the first knows why: the others saw it leave.
    return (RankError(first) if isinstance(given, CollectiveAbortedError) else given), True


def _join() -> None:
    on_cuda = torch.cuda.is_available() and distributed.is_nccl_available()
    try:
        backend = "cpu:gloo,cuda:nccl" if on_cuda else "gloo"
        store, own_rank, ranks = next(rendezvous("env://", timeout=JOIN_TIMEOUT))
        store = _apart_from_earlier_starts(store, own_rank, ranks)
        distributed.init_process_group(backend, store=store, rank=own_rank, world_size=ranks, timeout=ROUND)
        _meetings.append(distributed.new_group(timeout=PATIENCE, backend="gloo"))
        # On every machine alike, with CUDA or without: all ranks must make the same groups.
        _tensors.append(distributed.new_group(timeout=ROUND, backend="gloo"))
        _exchange(JOIN_TIMEOUT)  # nobody goes on, and perhaps dies, while another is still joining
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise RankError(
            f"the ranks that torchrun started do not find one another ({reason}): start them again"
        ) from error


def _apart_from_earlier_starts(store: Any, own_rank: int, ranks: int) -> Any:
    """A part of the store that nobody has written to, the same on all ranks.

    When torchrun starts ranks again it keeps the store, where the addresses of the dead ones lie still; a
    rank that reads one waits for a connection for ever. So rank 0 makes up a name. It tells each other rank
    under a word that this one has made up itself, so that nobody takes an earlier name for today's.
    """
    if own_rank:
        word = secrets.token_hex(8)
        store.set(f"kennel/word/{own_rank}", word)
        name = store.get(f"kennel/name/{word}").decode()
        store.add(f"{name}/heard", 1)
        return PrefixStore(name, store)
    name, answered = f"kennel/{secrets.token_hex(8)}", set()
    deadline = time.monotonic() + JOIN_TIMEOUT.total_seconds()
    while store.add(f"{name}/heard", 0) < ranks - 1:
        for key in (f"kennel/word/{place}" for place in range(1, ranks)):
            if store.check([key]) and (word := store.get(key).decode()) not in answered:
                store.set(f"kennel/name/{word}", name)
                answered.add(word)
        if time.monotonic() > deadline:
            raise RuntimeError(f"not all {ranks} came within {JOIN_TIMEOUT}")
        time.sleep(0.01)
    return PrefixStore(name, store)


def _break_off() -> None:
    """Others that wait for this rank in a sum of tensors on the CPU find at once that it will not come.

    What waits on a GPU is not disturbed: there a process goes on to its next meeting.
    """
    if _tensors:
        distributed.destroy_process_group(_tensors.pop())


def _leave(*, patiently: bool) -> None:
    """Ends the process group.

    After a failure something may be pending, for which gloo's threads and NCCL's flush would wait without
    end: then they are left to themselves after a while, and end with the process.
    """
    _meetings.clear()
    _tensors.clear()
    if patiently:
        distributed.destroy_process_group()
        return
    leaving = threading.Thread(target=distributed.destroy_process_group, daemon=True)
    leaving.start()
    leaving.join(SHUTDOWN_TIMEOUT.total_seconds())


def all_gather_ints(*numbers: int, patient: bool = False) -> list[tuple[int, ...]]:
    """Waits for all ranks and gives each one's `numbers`, as many everywhere and at most 2, by rank.

    Every rank must come to it equally often; `patient` where one may have much to do before. Raises
    `RankError` where a rank has failed, in its words, or has died. Alone it gives the own numbers.
    """
    if _alone or not _meetings:
        return [numbers]
    return [told[: len(numbers)] for told in _exchange(PATIENCE if patient else ROUND, numbers)]


def _exchange(patience: timedelta, numbers: tuple[int, ...] = ()) -> list[tuple[int, ...]]:
    """One meeting of a rank that has not failed: what each brought."""
    heads = _heads(patience, (0, *numbers))
    if any(has_failed for has_failed, *_ in heads):
        raise RemoteRankError(_sentence_of_first(heads, ""))
    return [each[1:] for each in heads]


def _told_failure(words: str, failed_at: int) -> str:
    """The meeting of a rank that has failed: what the one said that was the first to."""
    return _sentence_of_first(_heads(ERROR_TIMEOUT, (1, failed_at)), words)


def _heads(patience: timedelta, own: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Of each rank whether it has failed, and its numbers, or when."""
    head = torch.zeros(1 + NUMBERS, dtype=torch.int64)
    head[: len(own)] = torch.tensor(own, dtype=torch.int64)
    heads = [torch.empty_like(head) for _ in range(world_size())]
    _wait(distributed.all_gather(heads, head, group=_meetings[0], async_op=True), patience)
    return [tuple(each.tolist()) for each in heads]


def _sentence_of_first(heads: list[tuple[int, ...]], own: str) -> str:
    """What the first rank that failed says, on all ranks."""
    _, place = min((when, place) for place, (has_failed, when, *_) in enumerate(heads) if has_failed)
    said = bytearray(own.encode()[:SENTENCE_BYTES].ljust(SENTENCE_BYTES, b"\0"))
    letters = torch.frombuffer(said, dtype=torch.uint8)
    _wait(distributed.broadcast(letters, place, group=_meetings[0], async_op=True), ERROR_TIMEOUT)
    return bytes(letters.tolist()).rstrip(b"\0").decode(errors="ignore")


def send_to_rank_0(tensor: Tensor) -> None:
    """Sends a tensor of the CPU, whose shape rank 0 knows; it asks for it by `received_from`."""
    _wait(distributed.isend(tensor.contiguous(), 0, group=_meetings[0]), ROUND)


def receive_from(place: int, shape: tuple[int, ...]) -> Tensor:
    """The float32 tensor of this shape that rank `place` sends."""
    tensor = torch.empty(shape)
    _wait(distributed.irecv(tensor, place, group=_meetings[0]), ROUND)
    return tensor


def rank_zero_first(make: Callable[[], T]) -> T:
    """What `make` gives, on rank 0 before the others begin: for what leaves a file that all can use."""
    if rank():
        all_gather_ints(patient=True)
        return make()
    made = make()
    all_gather_ints(patient=True)
    return made


def broadcast_str(make: Callable[[], str]) -> str:
    """What `make` gives on rank 0, on all ranks; the others wait for it."""
    if _alone or not _meetings:
        return make()
    said = bytearray(make().encode()) if rank() == 0 else bytearray()
    ((size,), *_) = all_gather_ints(len(said), patient=True)
    letters = _letters(said, size)
    if size:
        _wait(distributed.broadcast(letters, 0, group=_meetings[0], async_op=True), ROUND)
    return letters.numpy().tobytes().decode()


def broadcast_tensors(named: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rank 0's tensors by name, on the CPU of every rank; what others give is not looked at."""

    def about() -> str:
        return json.dumps([(name, str(one.dtype), list(one.shape)) for name, one in named.items()])

    received = {}
    for name, dtype, shape in json.loads(broadcast_str(about)):
        tensor = torch.empty(shape, dtype=getattr(torch, dtype.removeprefix("torch.")))
        if rank() == 0:
            tensor.copy_(named[name].detach())
        if _meetings and not _alone and tensor.numel():
            letters = tensor.reshape(-1).view(torch.uint8)
            _wait(distributed.broadcast(letters, 0, group=_meetings[0], async_op=True), ROUND)
        received[name] = tensor
    return received


def _letters(said: bytearray, size: int) -> Tensor:
    return torch.frombuffer(said, dtype=torch.uint8) if said else torch.empty(size, dtype=torch.uint8)


def _everyone_is_here() -> None:
    """Waits until all ranks are here or gone: which of the two is the same to one that leaves."""
    with suppress(RankError):
        _wait(distributed.barrier(group=_meetings[0], async_op=True), ERROR_TIMEOUT)


def _wait(work: Any, patience: timedelta) -> None:
    try:
        work.wait(patience)
    except RuntimeError as error:
        raise RankTimeoutError(
            f"another rank has died, or was not heard of for {patience}: look for what it said, "
            "and start all of them again"
        ) from error


def all_reduce_sum(tensor: Tensor) -> Tensor:
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
        return _summed(tensor)

    @staticmethod
    def backward(_context: Any, gradient: Tensor) -> Tensor:
        return all_reduce_sum(gradient)


def _summed(tensor: Tensor) -> Tensor:
    total = tensor.clone(memory_format=torch.contiguous_format)
    try:
        distributed.all_reduce(total, group=_tensors[0] if _tensors and total.device.type == "cpu" else None)
    except RuntimeError as error:
        traceback.clear_frames(error.__traceback__)  # they hold the group, which `_break_off` must free
        raise CollectiveAbortedError(
            f"the ranks could not sum a tensor ({str(error).splitlines()[0]}): look for what other ranks "
            "said, and start all of them again"
        ) from error
    return total


def mean_over_ranks(tensor: Tensor) -> Tensor:
    """The mean of every rank's `tensor`, on every rank; of a mean over own rows the whole batch's."""
    return all_reduce_sum(tensor) / world_size() if _running() else tensor


def all_gather(rows: Tensor) -> Tensor:
    """The rows (own rows, ...) of every rank, in the order of the whole batch (batch, ...), on every rank.

    Differentiable as often as anybody likes.
    """
    if not _running():
        return rows
    beside = [0, 0] * rows.dim() + [rank(), world_size() - 1 - rank()]
    return all_reduce_sum(pad(rows[None], beside)).flatten(0, 1)


def variance_over_ranks(values: Tensor) -> Tensor:
    """The biased variance of all values of all ranks, which have equally many; not differentiable."""
    variance, mean = torch.var_mean(values.detach(), correction=0)
    if not _running():
        return variance
    variances, means = all_gather(torch.stack([variance, mean])[None]).unbind(1)
    return variances.mean() + means.var(correction=0)


def averaged_over_ranks(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Each tensor's mean over the ranks, laid out like it, by one sum of all of them end to end.

    For what needs no gradient, such as gradients; of one floating type. Nothing is copied on one rank.
    """
    if not _running() or not tensors:
        return list(tensors)
    flat = _summed(torch.cat([one.detach().reshape(-1) for one in tensors])) / world_size()
    pieces = torch.split(flat, [one.numel() for one in tensors])
    averaged = [torch.empty_like(one, requires_grad=False) for one in tensors]
    for mean, piece in zip(averaged, pieces, strict=True):
        mean.copy_(piece.view(mean.shape))
    return averaged
