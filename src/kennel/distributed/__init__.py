"""All use of torch.distributed: the number of ranks, this process's rank, and collectives.

Ranks started by torchrun join in `ranks_together`. They exchange messages at points that all reach in the
same order. A rank that fails reports its error at its next exchange, and all ranks end with that message.

In training the ranks share every batch; each has the rows of its `shard_slice`. If a loss is a mean over
rows, or uses whole-batch values from `mean_over_ranks` and `all_gather`, the mean of the parameter gradients
over the ranks is the gradient for the whole batch: these two functions pass back the gradients of the sum of
all ranks' losses.
"""

import hashlib
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
"""How long a rank waits for the others to join."""
BATCH_TIMEOUT = timedelta(minutes=30)
"""How long a rank waits for another that computes a batch."""
LONG_TIMEOUT = timedelta(days=7)
"""How long a rank waits for a long task of another: a download, or all metrics of many images."""
ERROR_TIMEOUT = timedelta(minutes=1)
"""How long a failed rank waits for the others to receive its error."""
SHUTDOWN_TIMEOUT = timedelta(seconds=10)
"""How long ending the process group may take after a failure."""
NUMBERS = 2
"""The most integers per rank in one exchange."""
SENTENCE_BYTES = 2048
TORCHRUN = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")

_control: list[Any] = []
"""The CPU group of all exchanges, with the long timeout; empty without ranks."""
_tensors: list[Any] = []
"""The group that sums CPU tensors, which can be destroyed separately."""
_alone: list[None] = []
"""One entry per open `single_process` block."""


def _running() -> bool:
    return not _alone and distributed.is_available() and distributed.is_initialized()


def world_size() -> int:
    """The number of ranks; 1 without a process group."""
    return distributed.get_world_size() if _running() else 1


def rank() -> int:
    """This process's rank, from 0; 0 without a process group."""
    return distributed.get_rank() if _running() else 0


@contextmanager
def single_process() -> Iterator[None]:
    """Makes this process the only rank in the block, for what one rank computes without the others."""
    _alone.append(None)
    try:
        yield
    finally:
        _alone.pop()


def shard_slice(batch: int) -> slice:
    """This rank's rows of a batch; `batch` must be divisible by the number of ranks."""
    count = batch // world_size()
    return slice(rank() * count, (rank() + 1) * count)


@contextmanager
def ranks_together(
    report: Callable[[Exception], None], sentence: Callable[[Exception], str]
) -> Iterator[None]:
    """Runs the block on all ranks of torchrun's environment; without one, on this process alone.

    CPU tensors use gloo, CUDA tensors NCCL. The ranks synchronize at the end of the block. If it fails on a
    rank, every rank exits with `SystemExit(2)` after rank 0 has passed the error to `report`; an error of
    another rank reaches rank 0 as a `RankError` with the text of `sentence`. If not all ranks receive the
    error within `ERROR_TIMEOUT`, each rank that has one reports it and exits, and torchrun ends the others.
    An error that is neither `KennelError` nor `OSError` keeps its traceback on its own rank. Without
    torchrun, errors pass through unchanged.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or not all(name in os.environ for name in TORCHRUN):
        yield
        return
    succeeded = False
    _join()
    try:
        yield
        all_gather_ints(patient=True)
        succeeded = True
    except Exception as original:
        error, is_shared = _share_error(original, sentence)
        expected = isinstance(error, KennelError | OSError)
        if expected and (rank() == 0 or not is_shared):
            report(error)
        if is_shared:
            # torchrun ends all ranks at the first exit, so wait until rank 0 has reported.
            _wait_for_all()
        if expected:
            raise SystemExit(2) from original
        raise
    finally:
        _leave(cleanly=succeeded)


def _share_error(original: Exception, sentence: Callable[[Exception], str]) -> tuple[Exception, bool]:
    """The error that this rank ends with, and whether all other ranks have received it."""
    failed_at = time.time_ns()
    _abort_sums()
    if isinstance(original, RemoteRankError | RankTimeoutError):
        return original, isinstance(original, RemoteRankError)
    expected = isinstance(original, KennelError | OSError)
    text = sentence(original) if expected else f"rank {rank()} failed with {original!r}: see its traceback"
    try:
        if isinstance(original, CollectiveAbortedError):
            _exchange(ERROR_TIMEOUT)  # raises the other rank's error if one has failed
        first = _exchange_failure(text, failed_at)
    except RemoteRankError as remote:
        return remote, True
    except RankTimeoutError:
        return original, False
    # If the sum failed on every rank, the first one knows the cause.
    return (RankError(first) if isinstance(original, CollectiveAbortedError) else original), True


def _join() -> None:
    on_cuda = torch.cuda.is_available() and distributed.is_nccl_available()
    try:
        backend = "cpu:gloo,cuda:nccl" if on_cuda else "gloo"
        store, own_rank, ranks = next(rendezvous("env://", timeout=JOIN_TIMEOUT))
        store = _fresh_store(store, own_rank, ranks)
        distributed.init_process_group(
            backend, store=store, rank=own_rank, world_size=ranks, timeout=BATCH_TIMEOUT
        )
        # Every rank makes both groups, with CUDA or without, since all must make the same ones.
        _control.append(distributed.new_group(timeout=LONG_TIMEOUT, backend="gloo"))
        _tensors.append(distributed.new_group(timeout=BATCH_TIMEOUT, backend="gloo"))
        _exchange(JOIN_TIMEOUT)  # no rank continues, and perhaps fails, while another is joining
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise RankError(
            f"the ranks that torchrun started cannot connect ({reason}): start them again"
        ) from error


def _fresh_store(store: Any, own_rank: int, ranks: int) -> Any:
    """A part of the store without old keys, the same on all ranks.

    When torchrun restarts ranks it keeps the store with the addresses of the dead ranks, and a rank that
    reads one would wait forever. So rank 0 chooses a new prefix, and sends it to each rank under a token that
    this rank has chosen, so that no rank reads an old prefix.
    """
    if own_rank:
        token = secrets.token_hex(8)
        store.set(f"kennel/word/{own_rank}", token)
        name = store.get(f"kennel/name/{token}").decode()
        store.add(f"{name}/heard", 1)
        return PrefixStore(name, store)
    name, answered = f"kennel/{secrets.token_hex(8)}", set()
    deadline = time.monotonic() + JOIN_TIMEOUT.total_seconds()
    while store.add(f"{name}/heard", 0) < ranks - 1:
        for key in (f"kennel/word/{other}" for other in range(1, ranks)):
            if store.check([key]) and (token := store.get(key).decode()) not in answered:
                store.set(f"kennel/name/{token}", name)
                answered.add(token)
        if time.monotonic() > deadline:
            raise RuntimeError(f"not all {ranks} joined within {JOIN_TIMEOUT}")
        time.sleep(0.01)
    return PrefixStore(name, store)


def _abort_sums() -> None:
    """Makes other ranks' pending sums of CPU tensors fail now; pending work on a GPU is not affected."""
    if _tensors:
        distributed.destroy_process_group(_tensors.pop())


def _leave(*, cleanly: bool) -> None:
    """Ends the process group.

    After a failure, gloo's threads and NCCL's flush may wait forever for pending work, so they get
    `SHUTDOWN_TIMEOUT` and then end with the process.
    """
    _control.clear()
    _tensors.clear()
    if cleanly:
        distributed.destroy_process_group()
        return
    leaving = threading.Thread(target=distributed.destroy_process_group, daemon=True)
    leaving.start()
    leaving.join(SHUTDOWN_TIMEOUT.total_seconds())


def all_gather_ints(*numbers: int, patient: bool = False) -> list[tuple[int, ...]]:
    """Waits for all ranks and returns every rank's `numbers`: at most 2, equally many on all ranks.

    All ranks must call it equally often. Set `patient` if a rank may have a long task before. Raises
    `RankError` with a failed rank's message, or if a rank has died. Without ranks it returns `[numbers]`.
    """
    if _alone or not _control:
        return [numbers]
    timeout = LONG_TIMEOUT if patient else BATCH_TIMEOUT
    return [row[: len(numbers)] for row in _exchange(timeout, numbers)]


def digest_63(data: bytes) -> int:
    """A 63-bit hash, which fits into `all_gather_ints`."""
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest()) >> 1


def _exchange(timeout: timedelta, numbers: tuple[int, ...] = ()) -> list[tuple[int, ...]]:
    """Every rank's numbers. Raises `RemoteRankError` if a rank has failed."""
    heads = _heads(timeout, (0, *numbers))
    if any(has_failed for has_failed, *_ in heads):
        raise RemoteRankError(_first_error(heads, ""))
    return [row[1:] for row in heads]


def _exchange_failure(text: str, failed_at: int) -> str:
    """The exchange of a rank that has failed: returns the message of the rank that failed first."""
    return _first_error(_heads(ERROR_TIMEOUT, (1, failed_at)), text)


def _heads(timeout: timedelta, own: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Of each rank: whether it has failed, then its numbers or the time of the failure."""
    head = torch.zeros(1 + NUMBERS, dtype=torch.int64)
    head[: len(own)] = torch.tensor(own, dtype=torch.int64)
    heads = [torch.empty_like(head) for _ in range(world_size())]
    _wait(distributed.all_gather(heads, head, group=_control[0], async_op=True), timeout)
    return [tuple(row.tolist()) for row in heads]


def _first_error(heads: list[tuple[int, ...]], own: str) -> str:
    """The message of the rank that failed first, on all ranks."""
    _, source = min((when, index) for index, (has_failed, when, *_) in enumerate(heads) if has_failed)
    text = bytearray(own.encode()[:SENTENCE_BYTES].ljust(SENTENCE_BYTES, b"\0"))
    data = torch.frombuffer(text, dtype=torch.uint8)
    _broadcast(data, source, ERROR_TIMEOUT)
    return bytes(data.tolist()).rstrip(b"\0").decode(errors="ignore")


def _broadcast(data: Tensor, source: int = 0, timeout: timedelta = BATCH_TIMEOUT) -> None:
    _wait(distributed.broadcast(data, source, group=_control[0], async_op=True), timeout)


def send_to_rank_0(tensor: Tensor) -> None:
    """Sends a CPU tensor, which rank 0 gets by `receive_from`."""
    _wait(distributed.isend(tensor.contiguous(), 0, group=_control[0]), BATCH_TIMEOUT)


def receive_from(source: int, shape: tuple[int, ...]) -> Tensor:
    """The float32 tensor of this shape that rank `source` sends."""
    tensor = torch.empty(shape)
    _wait(distributed.irecv(tensor, source, group=_control[0]), BATCH_TIMEOUT)
    return tensor


def rank_zero_first(make: Callable[[], T]) -> T:
    """Calls `make` on rank 0 before the others, for example to write a file that all then read."""
    if rank():
        all_gather_ints(patient=True)
        return make()
    result = make()
    all_gather_ints(patient=True)
    return result


def broadcast_str(make: Callable[[], str]) -> str:
    """The result of `make` on rank 0, on all ranks; the others do not call it."""
    if _alone or not _control:
        return make()
    text = bytearray(make().encode()) if rank() == 0 else bytearray()
    ((size,), *_) = all_gather_ints(len(text), patient=True)
    data = torch.frombuffer(text, dtype=torch.uint8) if text else torch.empty(size, dtype=torch.uint8)
    if size:
        _broadcast(data)
    return data.numpy().tobytes().decode()


def broadcast_tensors(named: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rank 0's tensors by name, on the CPU of every rank; the other ranks' `named` is ignored."""

    def about() -> str:
        return json.dumps([(name, str(one.dtype), list(one.shape)) for name, one in named.items()])

    received = {}
    for name, dtype, shape in json.loads(broadcast_str(about)):
        tensor = torch.empty(shape, dtype=getattr(torch, dtype.removeprefix("torch.")))
        if rank() == 0:
            tensor.copy_(named[name].detach())
        if _control and not _alone and tensor.numel():
            _broadcast(tensor.reshape(-1).view(torch.uint8))
        received[name] = tensor
    return received


def _wait_for_all() -> None:
    """Waits until all ranks are here or have exited."""
    with suppress(RankError):
        _wait(distributed.barrier(group=_control[0], async_op=True), ERROR_TIMEOUT)


def _wait(work: Any, timeout: timedelta) -> None:
    try:
        work.wait(timeout)
    except RuntimeError as error:
        raise RankTimeoutError(
            f"another rank has died or did not respond for {timeout}: see its output, and start all ranks "
            "again"
        ) from error


def all_reduce_sum(tensor: Tensor) -> Tensor:
    """The sum of every rank's `tensor` (same shape on all ranks), on every rank; differentiable.

    Its backward sums the gradients of all ranks' losses, so after `backward` on every rank the parameter
    gradients, summed over the ranks, are those of the sum of all losses. All ranks must call it equally
    often, forward and backward.
    """
    return cast(Tensor, _Sum.apply(tensor)) if _running() else tensor  # type: ignore[no-untyped-call]


class _Sum(torch.autograd.Function):
    """The backward is the same sum, because every input reaches every rank's output with weight 1."""

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
        traceback.clear_frames(error.__traceback__)  # they hold the group, which `_abort_sums` must free
        raise CollectiveAbortedError(
            f"the ranks could not sum a tensor ({str(error).splitlines()[0]}): see the output of the other "
            "ranks, and start all ranks again"
        ) from error
    return total


def mean_over_ranks(tensor: Tensor) -> Tensor:
    """The mean of every rank's `tensor`, on every rank; differentiable."""
    return all_reduce_sum(tensor) / world_size() if _running() else tensor


def all_gather(rows: Tensor) -> Tensor:
    """Concatenates the rows (rows, ...) of all ranks to the whole batch (batch, ...); differentiable."""
    if not _running():
        return rows
    other_ranks = [0, 0] * rows.dim() + [rank(), world_size() - 1 - rank()]
    return all_reduce_sum(pad(rows[None], other_ranks)).flatten(0, 1)


def variance_over_ranks(values: Tensor) -> Tensor:
    """The biased variance of the values of all ranks, which have equally many; not differentiable."""
    variance, mean = torch.var_mean(values.detach(), correction=0)
    if not _running():
        return variance
    variances, means = all_gather(torch.stack([variance, mean])[None]).unbind(1)
    return variances.mean() + means.var(correction=0)


def averaged_over_ranks(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Each tensor's mean over the ranks in the same memory layout, by one sum of all tensors concatenated.

    Not differentiable; all tensors must have one floating dtype. Without ranks it returns the tensors.
    """
    if not _running() or not tensors:
        return list(tensors)
    flat = _summed(torch.cat([one.detach().reshape(-1) for one in tensors])) / world_size()
    parts = torch.split(flat, [one.numel() for one in tensors])
    averaged = [torch.empty_like(one, requires_grad=False) for one in tensors]
    for mean, part in zip(averaged, parts, strict=True):
        mean.copy_(part.view(mean.shape))
    return averaged
