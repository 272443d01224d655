"""Precision, recall, density and coverage: are the images like real ones, and are all real ones like them?

Kynkäänniemi et al. (2019, arXiv 1904.06991), equations 1 and 2, and Naeem et al. (2020, arXiv 2002.09797),
equations 3 and 4. A set's manifold is the union of balls around its feature rows, each reaching to the row's
k-th nearest neighbour within the set. The first paper counts the border in (<=), the second out (<), as the
authors' programs do.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kennel.errors import JudgementError
from kennel.evaluation.metrics._nearest import Neighbours, Space, nearest
from kennel.evaluation.metrics._products import ProductName
from kennel.features.moments import Float64Array, FloatArray

NEIGHBOURS = 3
"""k of precision and recall, as Kynkäänniemi et al. publish them."""
DENSITY_NEIGHBOURS = 5
"""k of density and coverage, as Naeem et al. publish them."""
BoolArray = npt.NDArray[np.bool_]
UNDECIDED_BLOCK = 1 << 20


@dataclass(frozen=True)
class Manifolds:
    """How two sets of feature rows lie in each other's manifolds.

    With k `neighbours`: `fakes_inside` bool (fakes,), within some real ball, `reals_inside` bool (reals,),
    within some fake ball. With k `density_neighbours`: `balls_around` int64 (fakes,), in how many real balls
    strictly, and `reals_covered` bool (reals,), whether some fake lies strictly within the real row's ball.
    """

    fakes_inside: BoolArray
    reals_inside: BoolArray
    balls_around: npt.NDArray[np.int64]
    reals_covered: BoolArray
    neighbours: int
    density_neighbours: int

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
        """Real balls around a fake, by k: about 1 where the distributions agree, and not bounded by it."""
        return float(self.balls_around.mean()) / self.density_neighbours

    @property
    def coverage(self) -> float:
        """The share of reals whose ball holds a fake."""
        return float(self.reals_covered.mean())


def harmonic_mean(precision: float, recall: float) -> float:
    """F1: 2 P R / (P + R), and 0 where both are 0."""
    return 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0


def manifolds(
    fakes: FloatArray,
    reals: FloatArray,
    neighbours: int = NEIGHBOURS,
    density_neighbours: int = DENSITY_NEIGHBOURS,
    *,
    device: torch.device | str = "cpu",
    product: ProductName = "auto",
) -> Manifolds:
    """The evidence for precision, recall, density and coverage, decided in float64.

    `neighbours` is k of precision and recall, `density_neighbours` that of density and coverage. Raises
    `JudgementError` where a side has no more images than either, or values are not finite.
    """
    most = max(neighbours, density_neighbours)
    for which, rows in (("images", fakes), ("reference", reals)):
        if len(rows) <= most:
            raise JudgementError(
                f"the {which} number {len(rows)}, and each needs {most} neighbours of its own side: "
                f"give at least {most + 1}"
            )
    of_fakes = nearest(fakes, fakes, neighbours, leave_out_self=True, device=device, product=product)
    of_reals = nearest(reals, reals, most, leave_out_self=True, device=device, product=product)
    fake_reach = _reach(fakes, of_fakes, neighbours)
    real_reach, density_reach = (_reach(reals, of_reals, k) for k in (neighbours, density_neighbours))
    space = Space(fakes, reals, device=device, product=product)
    counting = _Counting(space, fake_reach, real_reach, density_reach)
    for tile in space.tiles():
        counting.add(tile.top, tile.start, tile.closeness, tile.bound)
    counting.decide()
    return Manifolds(
        counting.fakes_inside,
        counting.reals_inside,
        counting.balls_around,
        counting.reals_covered,
        neighbours,
        density_neighbours,
    )


def _reach(rows: FloatArray, found: Neighbours, neighbours: int) -> Float64Array:
    """The squared distance of each row to this neighbour of its, as it comes from the rows: a root and its
    square would move the border."""
    return Space(rows, rows).exact(np.arange(len(rows)), found.indices[:, neighbours - 1])


class _Counting:
    """Goes through the tiles: what is certain is counted, what is not is kept for float64."""

    def __init__(
        self, space: Space, fake_reach: Float64Array, real_reach: Float64Array, density_reach: Float64Array
    ) -> None:
        fakes, reals = len(fake_reach), len(real_reach)
        self._space = space
        self._fake_reach, self._real_reach, self._density_reach = fake_reach, real_reach, density_reach
        self._fake_border = space.closeness_of(fake_reach)
        self._real_border = space.closeness_of(real_reach)
        self._density_border = space.closeness_of(density_reach)
        self.fakes_inside = np.zeros(fakes, bool)
        self.reals_inside = np.zeros(reals, bool)
        self.balls_around = np.zeros(fakes, np.int64)
        self.reals_covered = np.zeros(reals, bool)
        self._undecided: list[tuple[Tensor, Tensor]] = []
        self._waiting = 0

    def add(self, top: int, start: int, closeness: Tensor, bound: Tensor) -> None:
        """Counts a tile's certain pairs."""
        rows, columns = slice(top, top + closeness.shape[0]), slice(start, start + closeness.shape[1])
        borders = {
            "real": self._real_border[columns],
            "density": self._density_border[columns],
            "fake": self._fake_border[rows, None],
        }
        # The borders were rounded to float32 too.
        largest = torch.stack([borders["real"].abs().amax(), borders["density"].abs().amax()]).amax()
        slack = bound[:, None] + 2.0**-22 * (largest + borders["fake"].abs())
        within = {name: closeness > border + slack for name, border in borders.items()}
        perhaps = torch.zeros_like(within["real"])
        for name, border in borders.items():
            perhaps |= (closeness >= border - slack) & ~within[name]
        self.balls_around[rows] += within["density"].sum(1).cpu().numpy()
        self.fakes_inside[rows] |= within["real"].any(1).cpu().numpy()
        self.reals_covered[columns] |= within["density"].any(0).cpu().numpy()
        self.reals_inside[columns] |= within["fake"].any(0).cpu().numpy()
        # A pair may be certain by one border and not by the others: only what is open is decided later.
        row, column = perhaps.nonzero(as_tuple=True)
        if len(row):
            certain = within["density"][row, column]
            self._undecided.append((torch.stack([row + top, column + start]), certain))
            self._waiting += len(row)
        if self._waiting > UNDECIDED_BLOCK:
            self.decide()

    def decide(self) -> None:
        """Decides the pairs that wait, exactly."""
        if not self._undecided:
            return
        (row, column), certain = (
            torch.cat(parts, -1).cpu().numpy() for parts in zip(*self._undecided, strict=True)
        )
        self._undecided, self._waiting = [], 0
        squared = self._space.exact(row, column)
        np.logical_or.at(self.fakes_inside, row, squared <= self._real_reach[column])
        np.logical_or.at(self.reals_inside, column, squared <= self._fake_reach[row])
        strictly = squared < self._density_reach[column]
        np.add.at(self.balls_around, row, strictly & ~certain)
        np.logical_or.at(self.reals_covered, column, strictly)
