"""Precision, recall, density and coverage by k-nearest-neighbor balls.

Kynkäänniemi et al. (2019, arXiv 1904.06991), equations 1 and 2, and Naeem et al. (2020, arXiv 2002.09797),
equations 3 and 4. A set's manifold is the union of balls around its feature rows; the radius of a ball is the
distance to the row's k-th nearest neighbor within the set. The first paper includes the border (<=), the
second excludes it (<), as in the authors' programs.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kennel.errors import JudgementError
from kennel.evaluation.metrics._nearest import Neighbors, Space, nearest
from kennel.evaluation.metrics._products import ProductName
from kennel.features.moments import Float64Array, FloatArray

NEIGHBORS = 3  # k of precision and recall in Kynkäänniemi et al.
DENSITY_NEIGHBORS = 5  # k of density and coverage in Naeem et al.
BoolArray = npt.NDArray[np.bool_]
UNDECIDED_BLOCK = 1 << 20


@dataclass(frozen=True)
class Manifolds:
    """Which rows of two feature sets lie in the other set's manifold.

    With k `neighbors`: `fakes_inside` bool (fakes,), within a real ball; `reals_inside` bool (reals,), within
    a fake ball. With k `density_neighbors`: `balls_around` int64 (fakes,), the number of real balls strictly
    around the fake; `reals_covered` bool (reals,), whether a fake lies strictly within the real row's ball.
    """

    fakes_inside: BoolArray
    reals_inside: BoolArray
    balls_around: npt.NDArray[np.int64]
    reals_covered: BoolArray
    neighbors: int
    density_neighbors: int

    @property
    def precision(self) -> float:
        """The share of fakes in the manifold of the reals."""
        return float(self.fakes_inside.mean())

    @property
    def recall(self) -> float:
        """The share of reals in the manifold of the fakes."""
        return float(self.reals_inside.mean())

    @property
    def density(self) -> float:
        """Real balls around a fake, divided by k: about 1 for equal distributions, and it may exceed 1."""
        return float(self.balls_around.mean()) / self.density_neighbors

    @property
    def coverage(self) -> float:
        """The share of reals whose ball contains a fake."""
        return float(self.reals_covered.mean())


def harmonic_mean(precision: float, recall: float) -> float:
    """F1: 2 P R / (P + R), and 0 if both are 0."""
    return 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0


def manifolds(
    fakes: FloatArray,
    reals: FloatArray,
    neighbors: int = NEIGHBORS,
    density_neighbors: int = DENSITY_NEIGHBORS,
    *,
    device: torch.device | str = "cpu",
    product: ProductName = "auto",
) -> Manifolds:
    """The counts behind precision, recall (k `neighbors`), density and coverage (k `density_neighbors`),
    decided in float64. Raises `JudgementError` if a side has no more images than either k, or a value is not
    finite."""
    largest = max(neighbors, density_neighbors)
    for name, rows in (("images", fakes), ("reference", reals)):
        if len(rows) <= largest:
            raise JudgementError(
                f"the {name} are {len(rows)}, and each needs {largest} neighbors on its own side: give at "
                f"least {largest + 1}"
            )
    near_fakes = nearest(fakes, fakes, neighbors, exclude_self=True, device=device, product=product)
    near_reals = nearest(reals, reals, largest, exclude_self=True, device=device, product=product)
    fake_radii = _squared_radii(fakes, near_fakes, neighbors)
    real_radii, density_radii = (_squared_radii(reals, near_reals, k) for k in (neighbors, density_neighbors))
    space = Space(fakes, reals, device=device, product=product)
    counter = _PairCounter(space, fake_radii, real_radii, density_radii)
    for tile in space.tiles():
        counter.add(tile.top, tile.start, tile.closeness, tile.bound)
    counter.decide()
    return Manifolds(
        counter.fakes_inside,
        counter.reals_inside,
        counter.balls_around,
        counter.reals_covered,
        neighbors,
        density_neighbors,
    )


def _squared_radii(rows: FloatArray, found: Neighbors, neighbors: int) -> Float64Array:
    """The squared distance of each row to its k-th neighbor, from the rows themselves: squaring a rounded
    root would change comparisons at the border."""
    return Space(rows, rows).exact(np.arange(len(rows)), found.indices[:, neighbors - 1])


class _PairCounter:
    """Counts the certain pairs of tiles, and keeps the uncertain ones for float64."""

    def __init__(
        self, space: Space, fake_radii: Float64Array, real_radii: Float64Array, density_radii: Float64Array
    ) -> None:
        fakes, reals = len(fake_radii), len(real_radii)
        self._space = space
        self._fake_radii, self._real_radii, self._density_radii = fake_radii, real_radii, density_radii
        self._fake_border = space.closeness_of(fake_radii)
        self._real_border = space.closeness_of(real_radii)
        self._density_border = space.closeness_of(density_radii)
        self.fakes_inside = np.zeros(fakes, bool)
        self.reals_inside = np.zeros(reals, bool)
        self.balls_around = np.zeros(fakes, np.int64)
        self.reals_covered = np.zeros(reals, bool)
        self._undecided: list[tuple[Tensor, Tensor]] = []
        self._pending = 0

    def add(self, top: int, start: int, closeness: Tensor, bound: Tensor) -> None:
        """Counts the certain pairs of a tile."""
        rows, columns = slice(top, top + closeness.shape[0]), slice(start, start + closeness.shape[1])
        borders = {
            "real": self._real_border[columns],
            "density": self._density_border[columns],
            "fake": self._fake_border[rows, None],
        }
        # The borders are rounded to float32 too.
        largest = torch.stack([borders["real"].abs().amax(), borders["density"].abs().amax()]).amax()
        slack = bound[:, None] + 2.0**-22 * (largest + borders["fake"].abs())
        within = {name: closeness > border + slack for name, border in borders.items()}
        uncertain = torch.zeros_like(within["real"])
        for name, border in borders.items():
            uncertain |= (closeness >= border - slack) & ~within[name]
        self.balls_around[rows] += within["density"].sum(1).cpu().numpy()
        self.fakes_inside[rows] |= within["real"].any(1).cpu().numpy()
        self.reals_covered[columns] |= within["density"].any(0).cpu().numpy()
        self.reals_inside[columns] |= within["fake"].any(0).cpu().numpy()
        # An uncertain pair may already be counted for density: `decide` must not count it again.
        row, column = uncertain.nonzero(as_tuple=True)
        if len(row):
            counted = within["density"][row, column]
            self._undecided.append((torch.stack([row + top, column + start]), counted))
            self._pending += len(row)
        if self._pending > UNDECIDED_BLOCK:
            self.decide()

    def decide(self) -> None:
        """Decides the uncertain pairs exactly."""
        if not self._undecided:
            return
        (row, column), counted = (
            torch.cat(parts, -1).cpu().numpy() for parts in zip(*self._undecided, strict=True)
        )
        self._undecided, self._pending = [], 0
        squared = self._space.exact(row, column)
        np.logical_or.at(self.fakes_inside, row, squared <= self._real_radii[column])
        np.logical_or.at(self.reals_inside, column, squared <= self._fake_radii[row])
        strictly = squared < self._density_radii[column]
        np.add.at(self.balls_around, row, strictly & ~counted)
        np.logical_or.at(self.reals_covered, column, strictly)
