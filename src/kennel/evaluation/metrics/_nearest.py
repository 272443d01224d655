"""Nearest neighbors and balls among feature rows: searched with a fast product, decided in float64.

Each pair of rows has a closeness, larger for nearer rows:

    Euclidean   c_ij = x_i . y_j - |y_j|^2 / 2 - |x_i|^2 / 2 = -d_ij^2 / 2
    cosine      c_ij = |u_i . v_j|, of rows scaled to length 1

It comes from an approximate product (`_products`) of centered rows, tile by tile, so the matrix of all pairs
is never stored. Pairs that the bound of the product cannot separate are computed again in float64 from the
given rows, so distances and counts are exact.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from kennel.cancellation import raise_if_cancelled
from kennel.errors import JudgementError
from kennel.evaluation.metrics._products import (
    ROUNDING,
    Float32Product,
    PreparedRows,
    Product,
    ProductName,
    choose_product,
)
from kennel.features.moments import NOT_FINITE, Float64Array, FloatArray, IndexArray, blocks

LEFT_TILE, RIGHT_TILE = 1024, 4096
CHUNK = 65_536  # Left rows that are kept in the form of the product at a time
GROUPS = 64  # The columns of a tile are searched in this many interleaved groups, by their maxima first
MAX_PAIRS_PER_ROW = 48  # With more undecided pairs per row than this, float32 is faster than 8 bits
PAIR_BLOCK = 128
PRUNE_SIZE = 1 << 22  # New candidate pairs that start a pruning: 80 MiB
MAX_EXPONENT = 126  # Maximum of the power of two that scales features


@dataclass(frozen=True)
class Neighbors:
    """The nearest right rows of each left row: `distances` float64 (rows, count), ascending, and their
    `indices` (rows, count)."""

    distances: Float64Array
    indices: IndexArray


@dataclass(frozen=True)
class _Side:
    """Rows in the form of the product, and the term that is added to the products of each."""

    prepared: PreparedRows
    offsets: Tensor


@dataclass(frozen=True)
class Tile:
    """The closeness of left rows from `top` on and right rows from `start` on. `closeness` float32 (left
    rows, right rows), scaled by the space; its maximum error is `bound`, float32 (left rows,)."""

    top: int
    start: int
    closeness: Tensor
    bound: Tensor


class Space:
    """Two sets of feature rows and their distance. Attributes: `left` and `right` (rows, dimension), possibly
    memory-mapped; `cosine` or Euclidean."""

    def __init__(
        self,
        left: FloatArray,
        right: FloatArray,
        *,
        cosine: bool = False,
        device: torch.device | str = "cpu",
        product: ProductName = "auto",
    ) -> None:
        """Raises `JudgementError` for empty sets, unequal dimensions and values that are not finite.

        With `cosine` no row may be all zeros.
        """
        if left.ndim != 2 or right.ndim != 2 or left.shape[1] != right.shape[1]:
            raise JudgementError(
                f"features of shapes {left.shape} and {right.shape} cannot be compared: "
                "use the same extractor for both sides"
            )
        if not len(left) or not len(right):
            raise JudgementError("one side has no images: give at least one")
        self.left, self.right, self.cosine = left, right, cosine
        # The bound needs sums in float64, which Apple's devices do not have.
        self.device = torch.device("cpu" if torch.device(device).type == "mps" else device)
        self.product: Product = choose_product(left.shape[1], self.device, product)
        largest = max(_largest_magnitude(left), 0.0 if left is right else _largest_magnitude(right))
        # A power of two scales without rounding and keeps squares of all features within float32. The power
        # must be within float32 too.
        exponent = 0.0 if cosine or largest == 0 else -np.ceil(np.log2(largest))
        self._scale: float = 2.0 ** min(exponent, MAX_EXPONENT)
        self._center = self._scaled_rows(right[:RIGHT_TILE]).mean(0)
        self._exact_scaling = not cosine and left.dtype == right.dtype == np.float32
        self._signed = cosine and (_minimum(left) < 0 or _minimum(right) < 0)

    def _scaled_rows(self, rows: FloatArray) -> Tensor:
        """Float32 rows on the device: scaled, or of length 1."""
        scaled = torch.from_numpy(np.require(rows, requirements=("C", "W"))).to(self.device)
        if self.cosine:
            norms = torch.linalg.vector_norm(scaled, dim=1, keepdim=True, dtype=torch.float64)
            scaled = scaled / (norms.float() if scaled.dtype == torch.float32 else norms)
        else:
            scaled = scaled * self._scale
        return scaled.float()

    def _side(self, rows: FloatArray, product: Product, *, left: bool) -> _Side:
        scaled = self._scaled_rows(rows)
        centered = scaled - self._center
        prepared = product.prepare(centered, left=left)
        if not self.cosine:
            squares = torch.linalg.vector_norm(centered, dim=1, dtype=torch.float64).square_()
            return _Side(prepared, (squares / -2).float())
        # u . v = (u - m) . (v - m) + m . v + m . u - m . m
        center = self._center.double()
        offsets = scaled.double() @ center
        return _Side(prepared, (offsets - center @ center if left else offsets).float())

    def tiles(self) -> Iterator[Tile]:
        """The closeness of all pairs, one tile at a time: all right rows for each chunk of left rows."""
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
        # Rows, offsets and their sums are rounded to float32, a few times each.
        extent = left.prepared.norms + right.prepared.norms.amax()
        if not self._exact_scaling:
            # These rows were rounded before centering, so the error grows with the center.
            extent = extent + torch.linalg.vector_norm(self._center)
        bound = (product.bound(left.prepared, right.prepared) + 2.0**-21 * extent.square()).float()
        bound.add_(_underflow_bound(self.left.shape[1]))
        closeness.add_(left.offsets[:, None])
        return Tile(top, start, closeness.abs_() if self._signed else closeness, bound)

    def filter_candidates(
        self, left: IndexArray, right: IndexArray, wanted: int
    ) -> tuple[IndexArray, IndexArray]:
        """Keeps those candidate pairs that may be among the `wanted` nearest of their left row.

        It computes the sums of `exact` in float32. Their bound is far below that of 8 bits, so few pairs
        remain for float64.
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
                # The product of the squared norms of rows of 1e10 overflows float32.
                one, other = (rows / np.abs(rows).max(1, keepdims=True) for rows in (one, other))
                norms = np.sqrt(np.einsum("pd,pd->p", one, one) * np.einsum("pd,pd->p", other, other))
                values[pairs] = 1 - np.abs(np.einsum("pd,pd->p", one, other)) / norms
            else:
                one = (one - other) * np.float32(self._scale)
                values[pairs] = np.einsum("pd,pd->p", one, one)
        error = 4 * (self.left.shape[1] + 8) * ROUNDING
        errors = np.full(len(values), error) if self.cosine else error * values.astype(np.float64)
        starts = np.searchsorted(left, np.arange(len(self.left)))
        ranked = values[np.lexsort((values, left))]
        last = ranked[starts + wanted - 1].astype(np.float64)
        limit = last + (error if self.cosine else error * last) + _underflow_bound(self.left.shape[1])
        kept = values - errors <= limit[left]
        return left[kept], right[kept]

    def exact(self, left: IndexArray, right: IndexArray) -> Float64Array:
        """The squared distance, or 1 - |cos|, of each pair of rows, in float64 from the given features."""
        values = np.empty(len(left))
        for first in range(0, len(left), PAIR_BLOCK):
            pairs = slice(first, first + PAIR_BLOCK)
            one = self.left[left[pairs]].astype(np.float64)
            other = self.right[right[pairs]].astype(np.float64)
            if self.cosine:
                # The root of a square is exact, so an exact copy has exactly 0.
                norms = np.sqrt(np.einsum("pd,pd->p", one, one) * np.einsum("pd,pd->p", other, other))
                values[pairs] = np.clip(1 - np.abs(np.einsum("pd,pd->p", one, other)) / norms, 0.0, 1.0)
            else:
                one -= other
                values[pairs] = np.einsum("pd,pd->p", one, one)
        return values

    def closeness_of(self, exact: Float64Array) -> Tensor:
        """`exact` values on the scale of `Tile.closeness`."""
        values = 1 - exact if self.cosine else exact * (-0.5 * self._scale**2)
        return torch.from_numpy(values).float().to(self.device)


def nearest(
    left: FloatArray,
    right: FloatArray,
    count: int = 1,
    *,
    cosine: bool = False,
    exclude_self: bool = False,
    device: torch.device | str = "cpu",
    product: ProductName = "auto",
) -> Neighbors:
    """The `count` nearest right rows of each left row: Euclidean distances, or 1 - |cos| with `cosine`.

    `exclude_self` is for a set against itself: a row is not its own neighbor, but its duplicates are. Equal
    distances are ordered by index. Raises `JudgementError` like `Space`, and if there are too few right rows.
    """
    wanted = count + exclude_self
    if wanted > len(right):
        raise JudgementError(
            f"{count} neighbors need at least {wanted} images, and there are {len(right)}: give more"
        )
    kept_rows = _rows_without_excess_copies(right, wanted)
    kept_right = right if kept_rows is None else right[kept_rows]
    space = Space(left, kept_right, cosine=cosine, device=device, product=product)
    rows, columns = space.filter_candidates(*_candidates(space, wanted), wanted)
    values = space.exact(rows, columns)
    if kept_rows is not None:
        columns = kept_rows[columns]
    if exclude_self:
        others = rows != columns
        rows, columns, values = rows[others], columns[others], values[others]
    order = np.lexsort((columns, values, rows))
    rows, columns, values = rows[order], columns[order], values[order]
    starts = np.searchsorted(rows, np.arange(len(left)))
    kept = starts[:, None] + np.arange(count)
    distances = values[kept] if cosine else np.sqrt(values[kept])
    return Neighbors(distances, columns[kept])


def _candidates(space: Space, wanted: int) -> tuple[IndexArray, IndexArray]:
    """Pairs (rows, columns) that include the `wanted` nearest of every left row."""
    search = _Search(len(space.left), wanted, space.device)
    for tile in space.tiles():
        search.add(tile)
        if space.product.name == "int8" and search.too_many_candidates(tile):
            space.product = Float32Product()
            return _candidates(space, wanted)
    return search.pairs()


class _Search:
    """The best closeness of each left row so far, and the pairs that may still be among its nearest."""

    def __init__(self, rows: int, wanted: int, device: torch.device) -> None:
        self._wanted = wanted
        self._best = torch.full((rows, wanted), -torch.inf, device=device)
        self._bound = torch.zeros(rows, device=device)
        self._found: list[tuple[Tensor, Tensor, Tensor]] = []
        self._collected = self._kept = self._newest = 0

    def add(self, tile: Tile) -> None:
        rows = slice(tile.top, tile.top + len(tile.closeness))
        closeness = tile.closeness
        columns = closeness.shape[1]
        groups = min(max(GROUPS, self._wanted), columns)
        missing = -columns % groups
        if missing:
            closeness = torch.nn.functional.pad(closeness, (0, missing), value=-torch.inf)
        grouped = closeness.view(len(closeness), -1, groups)
        maxima = grouped.amax(1)
        # The minimum of the best groups' maxima is at most the wanted-th best value: a valid threshold.
        best = maxima.topk(min(self._wanted, groups), 1).values
        self._best[rows] = torch.cat([self._best[rows], best], 1).topk(self._wanted, 1).values
        self._bound[rows] = torch.maximum(self._bound[rows], tile.bound)
        threshold = self._threshold()[rows]
        row, group = (maxima >= threshold[:, None]).nonzero(as_tuple=True)
        values = grouped[row, :, group]
        candidate = (values >= threshold[row, None]) & (values > -torch.inf)
        index, place = candidate.nonzero(as_tuple=True)
        self._found.append(
            (row[index] + tile.top, place * groups + group[index] + tile.start, values[index, place])
        )
        self._newest = len(index)
        self._collected += self._newest
        if self._collected > 2 * self._kept + PRUNE_SIZE:
            self._prune()

    def _threshold(self) -> Tensor:
        return self._best[:, -1] - 2 * self._bound

    def too_many_candidates(self, tile: Tile) -> bool:
        """Whether a tile leaves so many pairs undecided that a more exact product is cheaper."""
        return self._newest > MAX_PAIRS_PER_ROW * len(tile.closeness) * self._wanted

    def _prune(self) -> None:
        row, column, value = (torch.cat(parts) for parts in zip(*self._found, strict=True))
        kept = value >= self._threshold()[row]
        self._found = [(row[kept], column[kept], value[kept])]
        self._collected = self._kept = int(kept.sum())

    def pairs(self) -> tuple[IndexArray, IndexArray]:
        """The candidates after all tiles."""
        self._prune()
        row, column, _ = self._found[0]
        return row.cpu().numpy(), column.cpu().numpy()


def _underflow_bound(dimension: int) -> float:
    """The maximum loss of a product of rows from values below float32's normal range. A training process
    flushes such values to 0: of the rows, of each product, and of their sums."""
    return 4 * (dimension + 2) * float(np.finfo(np.float32).tiny)


def _rows_without_excess_copies(rows: FloatArray, limit: int) -> IndexArray | None:
    """The indices of all rows except those with `limit` equal rows before them; None if that is all rows.
    Such rows are never among the `limit` nearest of any row, as equal distances are ordered by index. Without
    this, the search of a collapsed generator's equal images would decide every pair exactly."""
    # Equal rows have equal sums, so only rows with a frequent sum are hashed.
    sums = np.concatenate([block.sum(1) for block in blocks(rows, RIGHT_TILE)])
    _, inverse, counts = np.unique(sums, return_inverse=True, return_counts=True)
    seen: Counter[bytes] = Counter()
    kept = np.ones(len(rows), bool)
    for row in (counts[inverse] > limit).nonzero()[0]:
        key = hashlib.blake2b(rows[row].tobytes(), digest_size=16).digest()
        seen[key] += 1
        kept[row] = seen[key] <= limit
    return None if kept.all() else kept.nonzero()[0]


def _largest_magnitude(rows: FloatArray) -> float:
    """Computed in blocks; raises `JudgementError` for values that are not finite."""
    largest = 0.0
    for block in blocks(rows, RIGHT_TILE):
        largest = max(largest, float(block.max()), -float(block.min()))
        if not np.isfinite(largest) or not np.isfinite(block.sum(dtype=np.float64)):
            raise JudgementError(NOT_FINITE)
    return largest


def _minimum(rows: FloatArray) -> float:
    return min(float(block.min()) for block in blocks(rows, RIGHT_TILE))
