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
from kennel.features.moments import Float64Array, FloatArray
from kennel.metrics.neighbours import Space, nearest
from kennel.metrics.products import ProductName

NEIGHBOURS = 3
"""k of Kynkäänniemi et al.; Naeem et al. use 5."""
BoolArray = npt.NDArray[np.bool_]
UNDECIDED_BLOCK = 1 << 20


@dataclass(frozen=True)
class Manifolds:
    """How two sets of feature rows lie in each other's manifolds, with `neighbours` k.

    `fakes_inside` bool (fakes,): within some real ball; `reals_inside` bool (reals,): within some fake ball;
    `balls_around` int64 (fakes,): in how many real balls strictly; `reals_covered` bool (reals,): some fake
    lies strictly within the real row's ball.
    """

    fakes_inside: BoolArray
    reals_inside: BoolArray
    balls_around: npt.NDArray[np.int64]
    reals_covered: BoolArray
    neighbours: int

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
        return float(self.balls_around.mean()) / self.neighbours

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
    *,
    device: torch.device | str = "cpu",
    product: ProductName = "auto",
) -> Manifolds:
    """The evidence for precision, recall, density and coverage, decided in float64.

    Raises `JudgementError` where a side has no more images than `neighbours`, or values are not finite.
    """
    for which, rows in (("images", fakes), ("reference", reals)):
        if len(rows) <= neighbours:
            raise JudgementError(
                f"the {which} number {len(rows)}, and each needs {neighbours} neighbours of its own side: "
                f"give at least {neighbours + 1}"
            )
    reach = {
        "fakes": nearest(fakes, fakes, neighbours, leave_out_self=True, device=device, product=product),
        "reals": nearest(reals, reals, neighbours, leave_out_self=True, device=device, product=product),
    }
    # The squares as they come from the rows: a root and its square would move the border.
    fake_reach, real_reach = (
        Space(rows, rows).exact(np.arange(len(rows)), reach[which].indices[:, -1])
        for which, rows in (("fakes", fakes), ("reals", reals))
    )
    space = Space(fakes, reals, device=device, product=product)
    counting = _Counting(space, fake_reach, real_reach)
    for tile in space.tiles():
        counting.add(tile.top, tile.start, tile.closeness, tile.bound)
    counting.decide()
    return Manifolds(
        counting.fakes_inside,
        counting.reals_inside,
        counting.balls_around,
        counting.reals_covered,
        neighbours,
    )


class _Counting:
    """Goes through the tiles: what is certain is counted, what is not is kept for float64."""

    def __init__(self, space: Space, fake_reach: Float64Array, real_reach: Float64Array) -> None:
        fakes, reals = len(fake_reach), len(real_reach)
        self._space = space
        self._fake_reach, self._real_reach = fake_reach, real_reach
        self._fake_border = space.closeness_of(fake_reach)
        self._real_border = space.closeness_of(real_reach)
        self.fakes_inside = np.zeros(fakes, bool)
        self.reals_inside = np.zeros(reals, bool)
        self.balls_around = np.zeros(fakes, np.int64)
        self.reals_covered = np.zeros(reals, bool)
        self._undecided: list[tuple[Tensor, Tensor]] = []
        self._waiting = 0

    def add(self, top: int, start: int, closeness: Tensor, bound: Tensor) -> None:
        """Counts a tile's certain pairs."""
        rows, columns = slice(top, top + closeness.shape[0]), slice(start, start + closeness.shape[1])
        # The border was rounded to float32 too.
        real_border, fake_border = self._real_border[columns], self._fake_border[rows, None]
        slack = bound[:, None] + 2.0**-22 * (real_border.abs().amax() + fake_border.abs())
        in_real_ball = closeness > real_border + slack
        in_fake_ball = closeness > fake_border + slack
        perhaps = (closeness >= real_border - slack) & ~in_real_ball
        perhaps |= (closeness >= fake_border - slack) & ~in_fake_ball
        around = in_real_ball.sum(1).cpu().numpy()
        self.balls_around[rows] += around
        self.fakes_inside[rows] |= around > 0
        self.reals_covered[columns] |= in_real_ball.any(0).cpu().numpy()
        self.reals_inside[columns] |= in_fake_ball.any(0).cpu().numpy()
        # A pair may be certain by one border and not by the other: only what is open is decided later.
        row, column = perhaps.nonzero(as_tuple=True)
        if len(row):
            certain = in_real_ball[row, column]
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
        strictly = squared < self._real_reach[column]
        np.add.at(self.balls_around, row, strictly & ~certain)
        np.logical_or.at(self.reals_covered, column, strictly)
