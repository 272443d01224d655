"""Precision, recall, density and coverage of random halves of two sets, for their standard errors."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from kennel.cancellation import raise_if_cancelled
from kennel.evaluation.metrics.prdc import harmonic_mean
from kennel.features.moments import FloatArray

NEAREST_KEPT = 48
"""Nearest neighbors stored for each row. On average half of them are in the row's half: more than a usual k.
"""
BLOCK = 1024  # Rows whose distances are computed at a time


def metrics_of_halves(
    images: FloatArray,
    reference: FloatArray,
    half: int,
    splits: int,
    neighbors: int,
    density_neighbors: int,
    random: np.random.Generator,
    device: torch.device | str = "cpu",
) -> Iterator[tuple[list[float], list[float]]]:
    """For each of `splits` random splits of both sides: precision, recall, F1, density and coverage of the
    first and of the second halves, as `manifolds` computes them, except for ties within float32 rounding.

    Both sides have the same number of rows; a split uses 2 x `half` of them. Distances are computed in
    float64 and stored in float32: three square matrices over the rows.
    """
    device = torch.device(device)
    device = torch.device("cpu") if device.type == "mps" else device  # which has no float64
    left, right = (torch.from_numpy(np.ascontiguousarray(rows)).to(device) for rows in (images, reference))
    across = _squared_distances(left, right)
    sides = _Side(left), _Side(right)
    for _ in range(splits):
        raise_if_cancelled()
        orders = [torch.from_numpy(random.permutation(len(images))).to(device) for _ in sides]
        results = []
        for start in (0, half):
            fakes, reals = (order[start : start + half].sort().values for order in orders)
            fake_half, real_half = _Subset(sides[0], fakes), _Subset(sides[1], reals)
            distances = across.index_select(0, fakes).index_select(1, reals)
            inside = distances < real_half.radius(density_neighbors)
            precision = float((distances <= real_half.radius(neighbors)).any(1).double().mean())
            recall = float((distances <= fake_half.radius(neighbors)[:, None]).any(0).double().mean())
            density = float(inside.sum(dtype=torch.float64)) / half / density_neighbors
            coverage = float(inside.any(0).double().mean())
            results.append([precision, recall, harmonic_mean(precision, recall), density, coverage])
        yield results[0], results[1]


class _Side:
    """A set's distances to itself, and each row's nearest other rows in order."""

    def __init__(self, rows: Tensor) -> None:
        self.distances = _squared_distances(rows, rows).fill_diagonal_(torch.inf)
        near = self.distances.topk(min(NEAREST_KEPT, len(rows) - 1), largest=False)
        self.near_distances, self.near = near.values, near.indices


class _Subset:
    def __init__(self, side: _Side, rows: Tensor) -> None:
        self._side, self._rows = side, rows
        member = torch.zeros(len(side.near), dtype=torch.bool, device=rows.device)
        member[rows] = True
        self._rank = member[side.near[rows]].cumsum(1)

    def radius(self, neighbors: int) -> Tensor:
        """The squared distance of each row to its k-th nearest neighbor in the subset, (rows,)."""
        reached = self._rank >= neighbors
        column = reached.to(torch.uint8).argmax(1, keepdim=True)
        radii = self._side.near_distances[self._rows].gather(1, column).squeeze(1)
        far = (~reached[:, -1]).nonzero().squeeze(1)
        if len(far):  # rows with too few of their stored neighbors in the subset
            distances = self._side.distances.index_select(0, self._rows[far]).index_select(1, self._rows)
            radii[far] = distances.topk(neighbors, largest=False).values[:, -1]
        return radii


def _squared_distances(left: Tensor, right: Tensor) -> Tensor:
    """float32 (left, right), computed in float64 because the difference of squares loses digits."""
    right = right.double()
    norms = right.square().sum(1)
    distances = torch.empty(len(left), len(right), device=left.device)
    for start in range(0, len(left), BLOCK):
        rows = left[start : start + BLOCK].double()
        squares = torch.addmm(rows.square().sum(1)[:, None] + norms, rows, right.T, alpha=-2)
        distances[start : start + BLOCK] = squares.clamp_min_(0)
    return distances
