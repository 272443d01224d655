"""The figures of random halves of two sets, from one set of distances: how they vary between draws."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from kennel.cancellation import raise_if_cancelled
from kennel.evaluation.metrics.prdc import harmonic_mean
from kennel.features.moments import FloatArray

NEAR = 48
"""Neighbours of each row that are remembered: half are in its half on average, more than a usual k."""
BLOCK = 1024
"""Rows whose distances are computed at a time."""


def figures_of_halves(
    images: FloatArray,
    reference: FloatArray,
    half: int,
    splits: int,
    neighbours: int,
    density_neighbours: int,
    random: np.random.Generator,
    device: torch.device | str = "cpu",
) -> Iterator[tuple[list[float], list[float]]]:
    """For each split of both sides into random halves of `half` rows: precision, recall, F1, density and
    coverage of the one and of the other, as `manifolds` finds them, but for ties within float32's rounding.

    Both sides have as many rows, of which each split leaves out what is more than twice `half`. Distances
    are computed in float64 and kept in float32: three matrices of the rows' number squared.
    """
    place = torch.device(device)
    place = torch.device("cpu") if place.type == "mps" else place  # which has no float64
    one, other = (torch.from_numpy(np.ascontiguousarray(rows)).to(place) for rows in (images, reference))
    across = _squared_distances(one, other)
    sides = _Side(one), _Side(other)
    count = len(images)
    for _ in range(splits):
        raise_if_cancelled()
        orders = [torch.from_numpy(random.permutation(count)).to(place) for _ in sides]
        found = []
        for part in (0, half):
            fakes, reals = (order[part : part + half].sort().values for order in orders)
            of_fakes, of_reals = (side.of(rows) for side, rows in zip(sides, (fakes, reals), strict=True))
            within = across.index_select(0, fakes).index_select(1, reals)
            around = within < of_reals.reach(density_neighbours)
            precision = float((within <= of_reals.reach(neighbours)).any(1).double().mean())
            recall = float((within <= of_fakes.reach(neighbours)[:, None]).any(0).double().mean())
            density = float(around.sum(dtype=torch.float64)) / half / density_neighbours
            coverage = float(around.any(0).double().mean())
            found.append([precision, recall, harmonic_mean(precision, recall), density, coverage])
        yield found[0], found[1]


class _Side:
    """A set's distances to itself, with each row's nearest others in order."""

    def __init__(self, rows: Tensor) -> None:
        self.distances = _squared_distances(rows, rows).fill_diagonal_(torch.inf)
        near = self.distances.topk(min(NEAR, len(rows) - 1), largest=False)
        self.near_distances, self.near = near.values, near.indices

    def of(self, rows: Tensor) -> "_Part":
        """These rows of it alone."""
        return _Part(self, rows)


class _Part:
    """Some rows of a side, for whom the others of the side are not there."""

    def __init__(self, side: _Side, rows: Tensor) -> None:
        self._side, self._rows = side, rows
        here = torch.zeros(len(side.near), dtype=torch.bool, device=rows.device)
        here[rows] = True
        self._rank = here[side.near[rows]].cumsum(1)

    def reach(self, neighbours: int) -> Tensor:
        """(rows,): each row's squared distance to this neighbour of its in the part."""
        enough = self._rank >= neighbours
        place = enough.to(torch.uint8).argmax(1, keepdim=True)
        found = self._side.near_distances[self._rows].gather(1, place).squeeze(1)
        far = (~enough[:, -1]).nonzero().squeeze(1)
        if len(far):  # fewer of its nearest are in the part
            theirs = self._side.distances.index_select(0, self._rows[far]).index_select(1, self._rows)
            found[far] = theirs.topk(neighbours, largest=False).values[:, -1]
        return found


def _squared_distances(left: Tensor, right: Tensor) -> Tensor:
    """float32 (left, right), computed in float64: a difference of squares loses half of its digits."""
    right = right.double()
    lengths = right.square().sum(1)
    found = torch.empty(len(left), len(right), device=left.device)
    for start in range(0, len(left), BLOCK):
        rows = left[start : start + BLOCK].double()
        squares = torch.addmm(rows.square().sum(1)[:, None] + lengths, rows, right.T, alpha=-2)
        found[start : start + BLOCK] = squares.clamp_min_(0)
    return found
