"""Means of the steps' statistics: summed on the device, read once per tick."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from kennel.distributed import all_gather, rank, world_size
from kennel.errors import RunError


class RunningMeans:
    """Means of named scalars since the last tick; the device is not synchronized before they are read."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}
        self._rank_sums: Tensor | None = None
        """Every rank's sums (ranks, names) at the last call of `means`."""

    def add(self, statistics: Mapping[str, Tensor]) -> None:
        self._rank_sums = None
        for name, value in statistics.items():
            if name in self._sums:  # a sum from a checkpoint is still on the CPU
                self._sums[name] = self._sums[name].to(value.device) + value
            else:
                self._sums[name] = value.detach().float().clone()
            self._counts[name] = self._counts.get(name, 0) + 1

    def means(self) -> dict[str, float]:
        """The means since the last `read`, over all ranks. Waits for the device.

        All ranks must call it equally often.
        """
        if world_size() == 1 or not self._sums:
            return {name: float(total) / self._counts[name] for name, total in self._sums.items()}
        own = torch.stack([total.to("cpu", torch.float64) for total in self._sums.values()])
        self._rank_sums = all_gather(own[None])
        totals = self._rank_sums.mean(0).tolist()
        return {name: total / self._counts[name] for name, total in zip(self._sums, totals, strict=True)}

    def read(self) -> dict[str, float]:
        """Returns the means and starts again."""
        means = self.means()
        self._sums.clear()
        self._counts.clear()
        self._rank_sums = None
        return means

    def state_dict(self) -> dict[str, Tensor]:
        """Sums and counts, so that a run that resumes within a tick reads the same means.

        With several ranks a sum has one value per rank (ranks,), if `means` was called after the last step.
        """
        counts = {f"count.{name}": torch.tensor(count) for name, count in self._counts.items()}
        sums = dict(self._sums)
        if self._rank_sums is not None:
            sums = dict(zip(sums, self._rank_sums.float().unbind(1), strict=True))
        return {f"sum.{name}": total for name, total in sums.items()} | counts

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restores this rank's sums, or their mean if the number of ranks differs.

        Raises `ValueError` if `state` is not from a `RunningMeans`.
        """
        _refuse_other_state(state)
        sums = {name: value.clone() for name, value in _below(state, "sum.").items()}
        same_ranks = all(value.shape == (world_size(),) for value in sums.values())
        self._rank_sums = torch.stack(list(sums.values()), 1) if sums and same_ranks else None
        self._sums = {
            name: value[rank()].clone() if same_ranks else value.mean() for name, value in sums.items()
        }
        self._counts = {name: int(value) for name, value in _below(state, "count.").items()}


def _below(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): one for name, one in state.items() if name.startswith(prefix)}


def _refuse_other_state(state: Mapping[str, Tensor]) -> None:
    """Checks that every sum has a scalar count, and that all sums are scalars or have one value per rank."""
    sums = {name: one for name, one in state.items() if name.startswith("sum.")}
    counts = {name: one for name, one in state.items() if name not in sums}
    if {f"count.{name.removeprefix('sum.')}" for name in sums} != counts.keys():
        raise ValueError(f"the tick has the sums {sorted(sums)} but the counts {sorted(counts)}")
    shapes = {tuple(one.shape) for one in sums.values()}
    if len(shapes) > 1 or any(len(shape) > 1 or 0 in shape for shape in shapes):
        raise ValueError(f"the tick's sums have the shapes {sorted(shapes)}, which fit no number of ranks")
    if any(one.shape != () for one in counts.values()) or any(one.is_complex() for one in state.values()):
        raise ValueError("the tick's sums and counts are not plain numbers")


def refuse_non_finite(means: Mapping[str, float], images_seen: int) -> None:
    """Raises `RunError` with the name of the first statistic that is NaN or infinite."""
    for name, value in means.items():
        if not math.isfinite(value):
            raise RunError(
                f"{name.replace('_', ' ')} became {value} before {images_seen:,} images: the run stops and "
                "keeps its last checkpoint; try a lower learning rate, or instance_noise"
            )
