"""Nearest neighbours and balls among feature rows: decided in float64, searched at the speed of 8 bits.

Every pair of rows gets a closeness, the larger the nearer:

    Euclidean   c_ij = x_i . y_j - |y_j|^2 / 2 - |x_i|^2 / 2 = -d_ij^2 / 2
    cosine      c_ij = |u_i . v_j|, of rows scaled to length 1

from an approximate product (`_products`) of rows whose common centre was taken out, tile by tile: no matrix
of all pairs is ever held. Only pairs that the product's bound cannot tell apart are computed again from the
given rows in float64, so distances and counts are those of the definition.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kennel.cancellation import raise_if_cancelled
from kennel.errors import JudgementError
from kennel.evaluation.metrics._products import (
    ROUNDING,
    Float32Product,
    Prepared,
    Product,
    ProductName,
    choose_product,
)
from kennel.features.moments import Float64Array, FloatArray

IndexArray: TypeAlias = npt.NDArray[np.int64]
LEFT_TILE, RIGHT_TILE = 1024, 4096
CHUNK = 65_536
"""Left rows that are held in the product's form at a time."""
GROUPS = 64
"""The columns of a tile are searched in so many interleaved groups, by their maxima first."""
PAIRS_A_ROW = 48
"""Where the 8-bit bound leaves more pairs than this to a row, float32 is faster."""
PAIR_BLOCK = 128
GATHERED = 1 << 22
"""Pairs that are gathered, beside those kept so far, before they are looked at again: 80 MiB."""
LARGEST_EXPONENT = 126
"""Of the power of two that scales features."""


@dataclass(frozen=True)
class Neighbours:
    """Of each left row the nearest right rows: `distances` float64 (rows, count) in rising order, and their
    `indices` (rows, count)."""

    distances: Float64Array
    indices: IndexArray


@dataclass(frozen=True)
class _Side:
    """Rows in the product's form, with what is added to a product for each of them."""

    prepared: Prepared
    offsets: Tensor


@dataclass(frozen=True)
class Tile:
    """The closeness of left rows from `top` on with right rows from `start` on, within `bound` of the truth.

    `closeness` float32 (left rows, right rows), scaled by the space; `bound` float32 (left rows,).
    """

    top: int
    start: int
    closeness: Tensor
    bound: Tensor


class Space:
    """Two sets of feature rows, and how near two rows are.

    Attributes: `left` and `right` (rows, dimension), perhaps memory-mapped; `cosine` or Euclidean.
    """

    def __init__(
        self,
        left: FloatArray,
        right: FloatArray,
        *,
        cosine: bool = False,
        device: torch.device | str = "cpu",
        product: ProductName = "auto",
    ) -> None:
        """Raises `JudgementError` for no rows, other dimensions and values that are not finite.

        With `cosine` no row may be all zeros.
        """
        if left.ndim != 2 or right.ndim != 2 or left.shape[1] != right.shape[1]:
            raise JudgementError(
                f"features of shapes {left.shape} and {right.shape} cannot be compared: "
                "use one extractor for both sides"
            )
        if not len(left) or not len(right):
            raise JudgementError("there are no images on one side: give at least one")
        self.left, self.right, self.cosine = left, right, cosine
        # Sums in float64 are part of the bound, and Apple's devices have none.
        self.device = torch.device("cpu" if torch.device(device).type == "mps" else device)
        self.product: Product = choose_product(left.shape[1], self.device, product)
        extent = max(_extent(left), 0.0 if left is right else _extent(right))
        # A power of two scales without rounding, and keeps squares of any features within float32; the
        # power itself has to stay within float32 too.
        exponent = 0.0 if cosine or extent == 0 else -np.ceil(np.log2(extent))
        self._scale: float = 2.0 ** min(exponent, LARGEST_EXPONENT)
        sample = self._plain(right[:RIGHT_TILE])
        self._centre = sample.mean(0)
        self._as_given = not cosine and left.dtype == right.dtype == np.float32
        self._signed = cosine and (_lowest(left) < 0 or _lowest(right) < 0)

    def _plain(self, rows: FloatArray) -> Tensor:
        """Float32 rows on the device: scaled, or of length 1."""
        plain = torch.from_numpy(np.require(rows, requirements=("C", "W"))).to(self.device)
        if self.cosine:
            lengths = torch.linalg.vector_norm(plain, dim=1, keepdim=True, dtype=torch.float64)
            plain = plain / (lengths.float() if plain.dtype == torch.float32 else lengths)
        else:
            plain = plain * self._scale
        return plain.float()

    def _side(self, rows: FloatArray, product: Product, *, left: bool) -> _Side:
        plain = self._plain(rows)
        centred = plain - self._centre
        prepared = product.prepare(centred, left=left)
        if not self.cosine:
            squares = torch.linalg.vector_norm(centred, dim=1, dtype=torch.float64).square_()
            return _Side(prepared, (squares / -2).float())
        # u . v = (u - m) . (v - m) + m . v + m . u - m . m
        centre = self._centre.double()
        offsets = plain.double() @ centre
        return _Side(prepared, (offsets - centre @ centre if left else offsets).float())

    def tiles(self) -> Iterator[Tile]:
        """The closeness of all pairs, a tile at a time: all right rows for each chunk of left rows."""
        product = self.product
        for first in range(0, len(self.left), CHUNK):
            chunk = [
                (top, self._side(self.left[top : min(top + LEFT_TILE, first + CHUNK)], product, left=True))
                for top in range(first, min(first + CHUNK, len(self.left)), LEFT_TILE)
            ]
            for start in range(0, len(self.right), RIGHT_TILE):
                raise_if_cancelled()
                right = self._side(self.right[start : start + RIGHT_TILE], product, left=False)
                for top, left in chunk:
                    yield self._tile(product, top, left, start, right)

    def _tile(self, product: Product, top: int, left: _Side, start: int, right: _Side) -> Tile:
        closeness = product(left.prepared, right.prepared).add_(right.offsets)
        # Rows, offsets and their sums were rounded to float32, a few times each.
        extent = left.prepared.lengths + right.prepared.lengths.amax()
        if not self._as_given:
            # These rows were rounded before the centre was taken out, and so by their size with it.
            extent = extent + torch.linalg.vector_norm(self._centre)
        bound = (product.bound(left.prepared, right.prepared) + 2.0**-21 * extent.square()).float()
        bound.add_(_rounded_away(self.left.shape[1]))
        closeness.add_(left.offsets[:, None])
        return Tile(top, start, closeness.abs_() if self._signed else closeness, bound)

    def nearly(self, left: IndexArray, right: IndexArray, wanted: int) -> tuple[IndexArray, IndexArray]:
        """Of candidate pairs those that may be among the `wanted` nearest of their left row, by float32.

        The sums of `exact` in float32, whose classical bound is far below that of 8 bits, so that few pairs
        are left for float64.
        """
        if self.left.dtype != np.float32 or self.right.dtype != np.float32 or len(left) <= 2 * len(self.left):
            return left, right
        order = np.argsort(left, kind="stable")
        left, right = left[order], right[order]
        values = np.empty(len(left), np.float32)
        for first in range(0, len(left), PAIR_BLOCK):
            pairs = slice(first, first + PAIR_BLOCK)
            one, other = self.left[left[pairs]], self.right[right[pairs]]
            if self.cosine:
                # Rows of 1e10 have squares whose product float32 does not hold.
                one, other = (rows / np.abs(rows).max(1, keepdims=True) for rows in (one, other))
                lengths = np.sqrt(np.einsum("pd,pd->p", one, one) * np.einsum("pd,pd->p", other, other))
                values[pairs] = 1 - np.abs(np.einsum("pd,pd->p", one, other)) / lengths
            else:
                one = (one - other) * np.float32(self._scale)
                values[pairs] = np.einsum("pd,pd->p", one, one)
        error = 4 * (self.left.shape[1] + 8) * ROUNDING
        errors = np.full(len(values), error) if self.cosine else error * values.astype(np.float64)
        starts = np.searchsorted(left, np.arange(len(self.left)))
        ranked = values[np.lexsort((values, left))]
        last = ranked[starts + wanted - 1].astype(np.float64)
        reach = last + (error if self.cosine else error * last) + _rounded_away(self.left.shape[1])
        kept = values - errors <= reach[left]
        return left[kept], right[kept]

    def exact(self, left: IndexArray, right: IndexArray) -> Float64Array:
        """Of each pair of rows the squared distance, or 1 - |cos|, in float64 from the given features."""
        values = np.empty(len(left))
        for first in range(0, len(left), PAIR_BLOCK):
            pairs = slice(first, first + PAIR_BLOCK)
            one, other = (
                self.left[left[pairs]].astype(np.float64),
                self.right[right[pairs]].astype(np.float64),
            )
            if self.cosine:
                # The root of a square is exact, and so an exact copy is at 0 exactly.
                lengths = np.sqrt(_squares(one) * _squares(other))
                values[pairs] = np.clip(1 - np.abs(np.einsum("pd,pd->p", one, other)) / lengths, 0.0, 1.0)
            else:
                one -= other
                values[pairs] = np.einsum("pd,pd->p", one, one)
        return values

    def closeness_of(self, exact: Float64Array) -> Tensor:
        """What `exact` values are on the scale of `Tile.closeness`."""
        values = 1 - exact if self.cosine else exact * (-0.5 * self._scale**2)
        return torch.from_numpy(values).float().to(self.device)


def nearest(
    left: FloatArray,
    right: FloatArray,
    count: int = 1,
    *,
    cosine: bool = False,
    leave_out_self: bool = False,
    device: torch.device | str = "cpu",
    product: ProductName = "auto",
) -> Neighbours:
    """The `count` nearest right rows of each left row: Euclidean distances, or 1 - |cos| with `cosine`.

    `leave_out_self` is for a set against itself: a row is no neighbour of its own, its duplicates are. Equal
    distances go by index. Raises `JudgementError` as `Space` does, and where there are too few right rows.
    """
    wanted = count + leave_out_self
    if wanted > len(right):
        raise JudgementError(
            f"{len(right)} images have no {count} neighbours each: give at least {wanted} images"
        )
    kept_rows = _first_copies(right, wanted)
    within = Space(
        left, right if kept_rows is None else right[kept_rows], cosine=cosine, device=device, product=product
    )
    rows, columns = within.nearly(*_candidates(within, wanted), wanted)
    values = within.exact(rows, columns)
    if kept_rows is not None:
        columns = kept_rows[columns]
    if leave_out_self:
        others = rows != columns
        rows, columns, values = rows[others], columns[others], values[others]
    order = np.lexsort((columns, values, rows))
    rows, columns, values = rows[order], columns[order], values[order]
    starts = np.searchsorted(rows, np.arange(len(left)))
    kept = starts[:, None] + np.arange(count)
    distances = values[kept] if cosine else np.sqrt(values[kept])
    return Neighbours(distances, columns[kept])


def _candidates(space: Space, wanted: int) -> tuple[IndexArray, IndexArray]:
    """Pairs (rows, columns) among which are the `wanted` nearest of every left row."""
    search = _Search(len(space.left), wanted, space.device)
    for tile in space.tiles():
        search.add(tile)
        if space.product.name == "int8" and search.hopeless(tile):
            space.product = Float32Product()
            return _candidates(space, wanted)
    return search.pairs()


class _Search:
    """The best closeness seen of each left row, and the pairs that may still be among its nearest."""

    def __init__(self, rows: int, wanted: int, device: torch.device) -> None:
        self._wanted = wanted
        self._best = torch.full((rows, wanted), -torch.inf, device=device)
        self._bound = torch.zeros(rows, device=device)
        self._found: list[tuple[Tensor, Tensor, Tensor]] = []
        self._gathered = self._kept = self._newest = 0

    def add(self, tile: Tile) -> None:
        """Takes a tile's candidates in."""
        rows = slice(tile.top, tile.top + len(tile.closeness))
        closeness = tile.closeness
        columns = closeness.shape[1]
        groups = min(max(GROUPS, self._wanted), columns)
        missing = -columns % groups
        if missing:
            closeness = torch.nn.functional.pad(closeness, (0, missing), value=-torch.inf)
        grouped = closeness.view(len(closeness), -1, groups)
        highest = grouped.amax(1)
        # The least of the best groups' maxima is no more than the wanted-th best value: a valid threshold.
        tops = highest.topk(min(self._wanted, groups), 1).values
        self._best[rows] = torch.cat([self._best[rows], tops], 1).topk(self._wanted, 1).values
        self._bound[rows] = torch.maximum(self._bound[rows], tile.bound)
        threshold = self._threshold()[rows]
        row, group = (highest >= threshold[:, None]).nonzero(as_tuple=True)
        values = grouped[row, :, group]
        in_reach = (values >= threshold[row, None]) & (values > -torch.inf)
        which, place = in_reach.nonzero(as_tuple=True)
        self._found.append(
            (row[which] + tile.top, place * groups + group[which] + tile.start, values[which, place])
        )
        self._newest = len(which)
        self._gathered += self._newest
        if self._gathered > 2 * self._kept + GATHERED:
            self._prune()

    def _threshold(self) -> Tensor:
        return self._best[:, -1] - 2 * self._bound

    def hopeless(self, tile: Tile) -> bool:
        """Whether a tile leaves so many pairs undecided that an exacter product costs less."""
        return self._newest > PAIRS_A_ROW * len(tile.closeness) * self._wanted

    def _prune(self) -> None:
        row, column, value = (torch.cat(parts) for parts in zip(*self._found, strict=True))
        kept = value >= self._threshold()[row]
        self._found = [(row[kept], column[kept], value[kept])]
        self._gathered = self._kept = int(kept.sum())

    def pairs(self) -> tuple[IndexArray, IndexArray]:
        """What is left when all tiles were seen."""
        self._prune()
        row, column, _ = self._found[0]
        return row.cpu().numpy(), column.cpu().numpy()


def _rounded_away(dimension: int) -> float:
    """What a product of rows loses at most that lies below float32's normal numbers.

    A process that trains takes such numbers for 0: those of the rows, each of the products, and their sums.
    """
    return 4 * (dimension + 2) * float(np.finfo(np.float32).tiny)


def _squares(rows: Float64Array) -> Float64Array:
    squares: Float64Array = np.einsum("pd,pd->p", rows, rows)
    return squares


def _first_copies(rows: FloatArray, most: int) -> IndexArray | None:
    """The indices of all rows but those with `most` equal ones before them; None where there are none.

    Such rows are never among the `most` nearest of any, as equal distances go by index. Without them the
    search of a collapsed generator's images, which are all alike, would weigh every pair.
    """
    sums = np.concatenate(
        [rows[start : start + RIGHT_TILE].sum(1) for start in range(0, len(rows), RIGHT_TILE)]
    )
    # Equal rows have equal sums: few others need a closer look.
    _, which, counts = np.unique(sums, return_inverse=True, return_counts=True)
    seen: Counter[bytes] = Counter()
    kept = np.ones(len(rows), bool)
    for place in (counts[which] > most).nonzero()[0]:
        key = hashlib.blake2b(rows[place].tobytes(), digest_size=16).digest()
        seen[key] += 1
        kept[place] = seen[key] <= most
    return None if kept.all() else kept.nonzero()[0]


def _extent(rows: FloatArray) -> float:
    """The largest magnitude, in blocks; refuses what is not finite."""
    extent = 0.0
    for start in range(0, len(rows), RIGHT_TILE):
        block = rows[start : start + RIGHT_TILE]
        extent = max(extent, float(block.max()), -float(block.min()))
        if not np.isfinite(extent) or not np.isfinite(block.sum(dtype=np.float64)):
            raise JudgementError(
                "the features hold NaN or infinite values: look for damaged images or weights, or use float32"
            )
    return extent


def _lowest(rows: FloatArray) -> float:
    return min(float(rows[start : start + RIGHT_TILE].min()) for start in range(0, len(rows), RIGHT_TILE))
