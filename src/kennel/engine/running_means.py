"""Cheap statistics of the turns: summed on the device, read once a tick."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from kennel.distributed import all_gather, rank, world_size
from kennel.errors import RunError


class RunningMeans:
    """Means of named scalars since the last tick, without a wait for the device before then."""

    def __init__(self) -> None:
        """Starts empty."""
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}
        self._of_ranks: Tensor | None = None
        """Every rank's sums (ranks, names), as they were when the means were last read."""

    def add(self, statistics: Mapping[str, Tensor]) -> None:
        """Adds one turn's scalars."""
        self._of_ranks = None
        for name, value in statistics.items():
            if name in self._sums:  # a sum that was read from a checkpoint is on the CPU still
                self._sums[name] = self._sums[name].to(value.device) + value
            else:
                self._sums[name] = value.detach().float().clone()
            self._counts[name] = self._counts.get(name, 0) + 1

    def means(self) -> dict[str, float]:
        """The means since the last reading, over all ranks. The only wait for the device.

        Every rank must ask for them equally often.
        """
        if world_size() == 1 or not self._sums:
            return {name: float(total) / self._counts[name] for name, total in self._sums.items()}
        own = torch.stack([total.to("cpu", torch.float64) for total in self._sums.values()])
        self._of_ranks = all_gather(own[None])
        totals = self._of_ranks.mean(0).tolist()
        return {name: total / self._counts[name] for name, total in zip(self._sums, totals, strict=True)}

    def read(self) -> dict[str, float]:
        """The means since the last reading, and a fresh start."""
        means = self.means()
        self._sums.clear()
        self._counts.clear()
        self._of_ranks = None
        return means

    def state_dict(self) -> dict[str, Tensor]:
        """Sums and counts, so that a tick that was interrupted reads the same when the run goes on.

        Of several ranks a sum is that of each (ranks,), if the means were read since the last turn.
        """
        counts = {f"count.{name}": torch.tensor(count) for name, count in self._counts.items()}
        sums = dict(self._sums)
        if self._of_ranks is not None:
            sums = dict(zip(sums, self._of_ranks.float().unbind(1), strict=True))
        return {f"sum.{name}": total for name, total in sums.items()} | counts

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Takes back what `state_dict` gave: this rank's sums, or where the ranks are others, their mean.

        Raises `ValueError` where it is none of a tally's states.
        """
        _refuse_other_state(state)
        sums = {
            name.removeprefix("sum."): value.clone()
            for name, value in state.items()
            if name.startswith("sum.")
        }
        as_many = all(value.shape == (world_size(),) for value in sums.values())
        self._of_ranks = torch.stack(list(sums.values()), 1) if sums and as_many else None
        self._sums = {
            name: value[rank()].clone() if as_many else value.mean() for name, value in sums.items()
        }
        self._counts = {
            name.removeprefix("count."): int(value)
            for name, value in state.items()
            if name.startswith("count.")
        }


def _refuse_other_state(state: Mapping[str, Tensor]) -> None:
    """Every sum has its count, a number, and all are numbers or all have one for each of as many ranks."""
    sums = {name: one for name, one in state.items() if name.startswith("sum.")}
    counts = {name: one for name, one in state.items() if name not in sums}
    if {f"count.{name.removeprefix('sum.')}" for name in sums} != counts.keys():
        raise ValueError(f"the tick has the sums {sorted(sums)} and beside them {sorted(counts)}")
    shapes = {tuple(one.shape) for one in sums.values()}
    if len(shapes) > 1 or any(len(shape) > 1 or 0 in shape for shape in shapes):
        raise ValueError(f"the tick's sums have the shapes {sorted(shapes)}, which are of no number of ranks")
    if any(one.shape != () for one in counts.values()) or any(one.is_complex() for one in state.values()):
        raise ValueError("the tick's sums and counts are not plain numbers")


def refuse_non_finite(means: Mapping[str, float], images_seen: int) -> None:
    """Raises `RunError` naming the first statistic that is NaN or infinite: such a run is beyond repair."""
    for name, value in means.items():
        if not math.isfinite(value):
            raise RunError(
                f"{name.replace('_', ' ')} became {value} before {images_seen:,} images: the run is stopped "
                "and its last checkpoint is kept; try a lower learning rate, or instance_noise"
            )
