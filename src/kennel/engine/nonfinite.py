"""Stops all weight updates on the device from the first value that is NaN or infinite."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim import Optimizer

from kennel.distributed import world_size
from kennel.engine.optim import ScheduledOptimizer, parameters_of
from kennel.shapes import Scalar


@dataclass(frozen=True)
class NonFiniteReport:
    """The first step with a value that is NaN or infinite.

    `network` is the one that its optimizer updates. `statistics` are the names of the non-finite losses and
    terms; `parameters` are the indices, in the optimizer's order, of the parameters with a non-finite
    gradient, out of `examined` with a gradient.
    """

    network: str
    statistics: tuple[str, ...]
    parameters: tuple[int, ...]
    examined: int


@dataclass
class _Record:
    """The values of the last such step before the flag was set, or of the first non-finite one."""

    network: str
    statistics: tuple[str, ...]
    indices: tuple[int, ...]
    values: Tensor


class NonFiniteGuard:
    """Checks every gradient before its optimizer's step, without synchronizing with the device.

    The first loss, term or gradient that is NaN or infinite sets a flag on the device. From then on no
    optimizer changes a weight: fused ones read the flag themselves (the `found_inf` of gradient scaling),
    others get gradients of 0. The records stop there too. So the weights and the records still belong to the
    first non-finite step when it is examined, however late.
    """

    def __init__(self, optimizers: Mapping[str, ScheduledOptimizer]) -> None:
        """`optimizers` by the name of the network that each updates."""
        self._optimizers = tuple(scheduled.optimizer for scheduled in optimizers.values())
        self._names = {id(one): name for one, name in zip(self._optimizers, optimizers, strict=True)}
        self._flag: Tensor | None = None
        self._records: dict[tuple[object, ...], _Record] = {}
        self._host_flag: Tensor | None = None
        self._copied: torch.cuda.Event | None = None

    @torch.no_grad()
    def examine(self, optimizer: Optimizer, statistics: Mapping[str, Tensor]) -> Scalar:
        """Returns the gradient norm of all parameters of `optimizer`; `statistics` are the step's scalars."""
        parameters = parameters_of(optimizer)
        indices = tuple(index for index, one in enumerate(parameters) if one.grad is not None)
        gradients = [one.grad for one in parameters if one.grad is not None]
        norms = torch.stack(torch._foreach_norm(gradients))
        scalars = torch.stack([one.detach().float() for one in statistics.values()])
        values = torch.cat([scalars, norms.float()])
        flag = self._flag_on(values.device)
        network = self._names[id(optimizer)]
        key = (network, indices, *statistics)
        record = self._records.get(key)
        if record is None:
            record = _Record(network, tuple(statistics), indices, torch.zeros_like(values))
            self._records[key] = record
        record.values.copy_(torch.where(flag > 0, record.values, values))
        # All ranks must decide alike: they share the averaged gradients, but each has its own losses.
        decisive = values if world_size() == 1 else norms
        flag.copy_(torch.maximum(flag, torch.isfinite(decisive.sum()).logical_not_()))
        if not _reads_flag(optimizer):
            for gradient in gradients:
                gradient.masked_fill_(flag > 0, 0.0)
        norm: Scalar = torch.linalg.vector_norm(norms)
        return norm

    def _flag_on(self, device: torch.device) -> Tensor:
        if self._flag is None:
            self._flag = torch.zeros((), dtype=torch.float32, device=device)
            for optimizer in self._optimizers:
                if _reads_flag(optimizer):
                    optimizer.found_inf = self._flag  # type: ignore[attr-defined]
        return self._flag

    def triggered_async(self) -> bool:
        """Whether the flag is known to be set, without waiting: on CUDA some iterations late, on the CPU now.

        On MPS, which has no asynchronous copy to wait for, it is False; use `triggered`.
        """
        if self._flag is None or self._flag.device.type == "cpu":
            return self.triggered()
        if self._flag.device.type != "cuda":
            return False
        if self._host_flag is None:
            self._host_flag = torch.zeros((), pin_memory=True)
        if self._copied is not None and not self._copied.query():  # type: ignore[no-untyped-call]
            return False
        triggered = self._copied is not None and bool(self._host_flag)
        self._host_flag.copy_(self._flag, non_blocking=True)
        self._copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
        # The flag's device need not be the current one, so not simply the current stream.
        self._copied.record(torch.cuda.current_stream(self._flag.device))
        return triggered

    def triggered(self) -> bool:
        """Whether a step was non-finite. Waits for the device."""
        return self._flag is not None and bool(self._flag > 0)

    def report(self) -> NonFiniteReport | None:
        """The first non-finite step, or None. Waits for the device."""
        for record in self._records.values():
            values = record.values.tolist()
            bad = [index for index, value in enumerate(values) if not math.isfinite(value)]
            if bad or not math.isfinite(float(record.values.sum())):
                count = len(record.statistics)
                return NonFiniteReport(
                    record.network,
                    tuple(record.statistics[index] for index in bad if index < count),
                    tuple(record.indices[index - count] for index in bad if index >= count),
                    len(record.indices),
                )
        return None

    def reset(self) -> None:
        """Allows updates again, after the weights were restored."""
        self._records.clear()
        # A copy that is still running keeps its own memory and must not be read as the new flag.
        self._copied = self._host_flag = None
        if self._flag is not None:
            self._flag.zero_()


def _reads_flag(optimizer: Optimizer) -> bool:
    """Whether the optimizer's step reads `found_inf`, as fused kernels do."""
    return getattr(optimizer, "_step_supports_amp_scaling", False) and bool(
        optimizer.param_groups[0].get("fused")
    )
