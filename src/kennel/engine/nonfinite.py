"""No gradient that is not finite moves a weight: both players stand still on the device until it is seen."""

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
    """What the first turn that was not finite left behind.

    `player` is whose optimizer it was; `statistics` are the names of the losses and terms that were not
    finite; `parameters` are the places, in the optimizer's order, of those whose gradient was not, out of
    `examined` that had one.
    """

    player: str
    statistics: tuple[str, ...]
    parameters: tuple[int, ...]
    examined: int


@dataclass
class _Record:
    """The values of the last turn of one shape, or of the first broken one: a tensor on the device."""

    player: str
    statistics: tuple[str, ...]
    places: tuple[int, ...]
    values: Tensor


class NonFiniteGuard:
    """Looks at every gradient before its optimizer's step, without a wait for the device.

    The first loss, term or gradient that is NaN or infinite sets a flag on the device. From then on no
    optimizer moves a weight: the fused ones read the flag themselves (the `found_inf` of gradient scaling),
    others are handed gradients of 0. So the weights are still those that made the first such turn when
    somebody asks, however late that is. The records of each kind of turn stop at it too.
    """

    def __init__(self, optimisers: Mapping[str, ScheduledOptimizer]) -> None:
        """`optimisers` under the names of whom they move."""
        self._optimisers = tuple(scheduled.optimizer for scheduled in optimisers.values())
        self._names = {id(one): name for one, name in zip(self._optimisers, optimisers, strict=True)}
        self._flag: Tensor | None = None
        self._records: dict[tuple[object, ...], _Record] = {}
        self._on_host: Tensor | None = None
        self._copied: torch.cuda.Event | None = None

    @torch.no_grad()
    def examine(self, optimiser: Optimizer, statistics: Mapping[str, Tensor]) -> Scalar:
        """The length of the gradient of all that `optimiser` moves; `statistics` are scalars of the turn."""
        parameters = parameters_of(optimiser)
        places = tuple(place for place, one in enumerate(parameters) if one.grad is not None)
        gradients = [one.grad for one in parameters if one.grad is not None]
        lengths = torch.stack(torch._foreach_norm(gradients))
        scalars = torch.stack([one.detach().float() for one in statistics.values()])
        values = torch.cat([scalars, lengths.float()])
        flag = self._flag_on(values.device)
        player = self._names[id(optimiser)]
        key = (player, places, *statistics)
        record = self._records.get(key)
        if record is None:
            record = _Record(player, tuple(statistics), places, torch.zeros_like(values))
            self._records[key] = record
        record.values.copy_(torch.where(flag > 0, record.values, values))
        # Of several ranks all must come to the same: their gradients are one average, their losses are not.
        decisive = values if world_size() == 1 else lengths
        flag.copy_(torch.maximum(flag, torch.isfinite(decisive.sum()).logical_not_()))
        if not _reads_the_flag(optimiser):
            for gradient in gradients:
                gradient.masked_fill_(flag > 0, 0.0)
        norm: Scalar = torch.linalg.vector_norm(lengths)
        return norm

    def _flag_on(self, device: torch.device) -> Tensor:
        if self._flag is None:
            self._flag = torch.zeros((), dtype=torch.float32, device=device)
            for optimiser in self._optimisers:
                if _reads_the_flag(optimiser):
                    optimiser.found_inf = self._flag  # type: ignore[attr-defined]
        return self._flag

    def has_noticed(self) -> bool:
        """Whether a broken turn is known of, without any wait: on CUDA some rounds late, on the CPU at once.

        Where a copy to the host cannot be waited for piecemeal (MPS), nothing is noticed before `has_broken`.
        """
        if self._flag is None or self._flag.device.type == "cpu":
            return self.has_broken()
        if self._flag.device.type != "cuda":
            return False
        if self._on_host is None:
            self._on_host = torch.zeros((), pin_memory=True)
        if self._copied is not None and not self._copied.query():  # type: ignore[no-untyped-call]
            return False
        noticed = self._copied is not None and bool(self._on_host)
        self._on_host.copy_(self._flag, non_blocking=True)
        self._copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
        # Not simply the current stream: that is the current device's, which need not be the flag's.
        self._copied.record(torch.cuda.current_stream(self._flag.device))
        return noticed

    def has_broken(self) -> bool:
        """Whether a turn has been broken. Waits for the device."""
        return self._flag is not None and bool(self._flag > 0)

    def broken(self) -> NonFiniteReport | None:
        """What the first broken turn left behind, or None. Waits for the device."""
        for record in self._records.values():
            values = record.values.tolist()
            bad = [place for place, value in enumerate(values) if not math.isfinite(value)]
            if bad or not math.isfinite(float(record.values.sum())):
                count = len(record.statistics)
                return NonFiniteReport(
                    record.player,
                    tuple(record.statistics[place] for place in bad if place < count),
                    tuple(record.places[place - count] for place in bad if place >= count),
                    len(record.places),
                )
        return None

    def reset(self) -> None:
        """Lets the weights move again, after they were restored."""
        self._records.clear()
        # A copy that is still under way keeps its own memory: nobody may take it for one of the new flag.
        self._copied = self._on_host = None
        if self._flag is not None:
            self._flag.zero_()


def _reads_the_flag(optimiser: Optimizer) -> bool:
    """Whether its step reads `found_inf`: the fused kernels do."""
    return getattr(optimiser, "_step_supports_amp_scaling", False) and bool(
        optimiser.param_groups[0].get("fused")
    )
