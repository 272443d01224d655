"""Inner products of many rows, fast and with a bound on their error, for searches that decide exactly later.

The 8-bit product rounds every row to multiples of a step of its own, after adding a dither u in [0, 1) that
is drawn apart for the two sides: q = floor(x / step + u). The error of a coordinate then has mean 0, lies
within one step and is independent of the rows and of the other coordinates, so Hoeffding's inequality
(1963, theorem 2) bounds the error of an inner product, whatever the data:

    P(|x . y - x^ . y^| > c (step_y |x| + step_x |y^|)) <= 4 exp(-2 c^2)

Processors with 8-bit dot products (VNNI, AMX) do it at three times the float32 rate or more.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor

ProductName: TypeAlias = Literal["auto", "float32", "int8"]
ROUNDING = 2.0**-24
"""Unit roundoff of float32."""
CERTAINTY = 4.6
"""Hoeffding's c: a pair escapes its bound with a probability below 2e-18, 2e8 pairs with one below 4e-10."""
LEVELS = 127
SHORTEST, LONGEST = 64, 2**31 // LEVELS**2
"""Dimensions below which 8 bits bring nothing, and above which their sums would leave 32 bits."""


@dataclass(frozen=True)
class Prepared:
    """Rows made ready for a product: `values` (rows, dimension) in the product's own form, `steps` float32
    and `lengths` float64 (rows,): how coarse each was rounded (0 for not at all), its Euclidean length."""

    values: Tensor
    steps: Tensor
    lengths: Tensor

    def __getitem__(self, rows: slice) -> "Prepared":
        return Prepared(self.values[rows], self.steps[rows], self.lengths[rows])


class Product(ABC):
    """Approximate inner products of left rows with right rows, and how wrong they can be."""

    name: str

    @abstractmethod
    def prepare(self, rows: Tensor, *, left: bool) -> Prepared:
        """Float32 (rows, dimension) in this product's form; which side they are on decides their dither."""

    @abstractmethod
    def __call__(self, left: Prepared, right: Prepared) -> Tensor:
        """Float32 (left rows, right rows)."""

    @abstractmethod
    def bound(self, left: Prepared, right: Prepared) -> Tensor:
        """Float64 (left rows,): no product of that row with one of `right` is further off than this."""


class Float32Product(Product):
    """The plain product. Its bound is the classical one of a sum of d rounded products, d u |x| |y|."""

    name = "float32"

    def prepare(self, rows: Tensor, *, left: bool) -> Prepared:
        return Prepared(rows, rows.new_zeros(len(rows)), lengths_of(rows))

    def __call__(self, left: Prepared, right: Prepared) -> Tensor:
        return left.values @ right.values.T

    def bound(self, left: Prepared, right: Prepared) -> Tensor:
        return (left.values.shape[1] + 8) * ROUNDING * left.lengths * right.lengths.amax()


class Int8Product(Product):
    """Dithered 8-bit rows with exact integer sums; the module's text gives the bound."""

    name = "int8"

    def __init__(self, dimension: int, seed: int = 0) -> None:
        """The dither follows from `seed` alone, so equal calls give equal products."""
        random = torch.Generator().manual_seed(seed)
        self._dithers = torch.rand(2, dimension, generator=random)

    def prepare(self, rows: Tensor, *, left: bool) -> Prepared:
        steps = rows.abs().amax(1).div_(LEVELS).clamp_(min=torch.finfo(torch.float32).tiny)
        scaled = rows / steps[:, None]
        codes = scaled.add_(self._dithers[0 if left else 1]).floor_().clamp_(-LEVELS, LEVELS)
        return Prepared(codes.to(torch.int8), steps, lengths_of(rows))

    def __call__(self, left: Prepared, right: Prepared) -> Tensor:
        whole: Tensor = torch._int_mm(left.values, right.values.T)
        products: Tensor = whole.float().mul_(right.steps).mul_(left.steps[:, None])
        return products

    def bound(self, left: Prepared, right: Prepared) -> Tensor:
        root = left.values.shape[1] ** 0.5
        # The rounded right rows are no longer than the given ones and a whole step in each coordinate.
        longest = (right.lengths + right.steps * root).amax()
        dithered = CERTAINTY * (right.steps.amax() * left.lengths + left.steps * longest)
        bound: Tensor = dithered + 8 * ROUNDING * (left.lengths + left.steps * root) * longest
        return bound


def lengths_of(rows: Tensor) -> Tensor:
    """Euclidean lengths, float64 (rows,)."""
    lengths: Tensor = torch.linalg.vector_norm(rows, dim=1, dtype=torch.float64)
    return lengths


def choose_product(dimension: int, device: torch.device, name: ProductName = "auto") -> Product:
    """The fastest product here: 8 bits where the processor multiplies them natively, else float32."""
    worth_it = device.type == "cpu" and SHORTEST <= dimension <= LONGEST and _has_int8()
    # torch's integer product of single columns takes the wrong rows.
    if (name == "int8" and dimension > 1) or (name == "auto" and worth_it):
        return Int8Product(dimension)
    return Float32Product()


def _has_int8() -> bool:
    """Whether this processor has 8-bit dot products; asked of torch where it can tell."""
    asked = (getattr(torch.cpu, f"_is_{feature}_supported", None) for feature in ("vnni", "amx_tile"))
    return hasattr(torch, "_int_mm") and any(ask() for ask in asked if ask is not None)
