"""Inner products of many rows, fast and with a bound on their error, for searches that decide exactly later.

The 8-bit product rounds every row to multiples of a step of its own with subtractive dither: with u uniform
in [0, 1), drawn apart for each coordinate and for the two sides,

    q = floor(x / step + u),    x^ = step (q - u + 1/2)

the errors x - x^ are uniform within half a step, and independent of the rows and of each other, whatever the
data. For such an error e, E exp(h e) = sinh(h step / 2) / (h step / 2) <= exp(h^2 step^2 / 24), so that by
Chernoff's bound

    P(|x . y - x^ . y^| > c (step_y |x| + step_x |y^|)) <= 4 exp(-6 c^2)

The dithers leave the integer product by sums that belong to one row each. Processors with 8-bit dot products
(VNNI, AMX) do it at three times the float32 rate or more.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from kennel.features.base import full_products

ProductName: TypeAlias = Literal["auto", "float32", "int8"]
ROUNDING = 2.0**-24
"""Unit roundoff of float32."""
CERTAINTY = 2.66
"""c: a pair escapes its bound with a probability below 2e-18, 2e8 pairs with one below 4e-10."""
LEVELS = 127
SHORTEST, LONGEST = 64, 2**31 // LEVELS**2
"""Dimensions below which 8 bits bring nothing, and above which their sums would leave 32 bits."""


@dataclass(frozen=True)
class Prepared:
    """Rows made ready for a product: `values` (rows, dimension) in the product's own form, and of each row
    (float32): `steps`, how coarse it was rounded; `lengths`, its Euclidean length or a little more;
    `shifts`, what the other side's dither adds to its products, in steps."""

    values: Tensor
    steps: Tensor
    lengths: Tensor
    shifts: Tensor


class Product(ABC):
    """Approximate inner products of left rows with right rows, and how wrong they can be."""

    name: str

    @abstractmethod
    def prepare(self, rows: Tensor, *, left: bool) -> Prepared:
        """Float32 (rows, dimension) in this product's form; which side they are on decides their dither."""

    @abstractmethod
    def __call__(self, left: Prepared, right: Prepared) -> Tensor:
        """Float32 (left rows, right rows), to be used, and changed, before the next call overwrites it."""

    @abstractmethod
    def bound(self, left: Prepared, right: Prepared) -> Tensor:
        """Float32 (left rows,): no product of that row with one of `right` is further off than this."""


class Float32Product(Product):
    """The plain product. Its bound is the classical one of a sum of d rounded products, d u |x| |y|."""

    name = "float32"

    def prepare(self, rows: Tensor, *, left: bool) -> Prepared:
        none = rows.new_zeros(len(rows))
        return Prepared(rows, none, lengths_of(rows), none)

    def __call__(self, left: Prepared, right: Prepared) -> Tensor:
        with full_products(left.values.device):
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
        self._whole, self._products = torch.empty(0, dtype=torch.int32), torch.empty(0)

    def prepare(self, rows: Tensor, *, left: bool) -> Prepared:
        own, others = self._dithers if left else self._dithers.flip(0)
        # A step more than needed on either end, for u and for the rounding of the quotient.
        steps = rows.abs().amax(1).div_(LEVELS - 1).clamp_(min=torch.finfo(torch.float32).tiny)
        codes = (rows / steps[:, None]).add_(own).floor_()
        # q . w' of this row with the other side's w' = w - 1/2; the left rows carry u' . w' too.
        shifts = codes @ (others - 0.5)
        if left:
            shifts -= (own - 0.5) @ (others - 0.5)
        return Prepared(codes.to(torch.int8), steps, lengths_of(rows), shifts)

    def __call__(self, left: Prepared, right: Prepared) -> Tensor:
        shape = (len(left.values), len(right.values))
        if self._whole.numel() < shape[0] * shape[1]:
            # Kept from call to call: fresh pages of memory for each tile cost more than its arithmetic.
            self._whole = torch.empty(shape[0] * shape[1], dtype=torch.int32)
            self._products = torch.empty(shape[0] * shape[1])
        whole, products = (kept[: shape[0] * shape[1]].view(shape) for kept in (self._whole, self._products))
        torch._int_mm(left.values, right.values.T, out=whole)
        products.copy_(whole).sub_(right.shifts).sub_(left.shifts[:, None])
        return products.mul_(right.steps).mul_(left.steps[:, None])

    def bound(self, left: Prepared, right: Prepared) -> Tensor:
        dimension = left.values.shape[1]
        root = dimension**0.5
        coarsest = right.steps.amax()
        # The rounded right rows are no longer than the given ones and half a step in each coordinate.
        longest = (right.lengths + right.steps * (0.5 * root)).amax()
        dithered = CERTAINTY * (coarsest * left.lengths + left.steps * longest)
        # The codes, as rows of their steps, stray by less than a step in each coordinate.
        codes, longest_codes = left.lengths + left.steps * root, (right.lengths + right.steps * root).amax()
        # Sums of d rounded products of codes with a dither of at most 1/2, and quotients and their sums with
        # the dither, which are up to 127 and so 2^-16 of a step off in each coordinate.
        summed = (0.5 * (dimension + 8) * ROUNDING + 2.0**-16) * root
        rounded = summed * (coarsest * codes + left.steps * longest_codes)
        # The few operations in float32 on the product.
        bound: Tensor = dithered + rounded + 16 * ROUNDING * codes * longest_codes
        return bound


def lengths_of(rows: Tensor) -> Tensor:
    """Euclidean lengths, float32 (rows,), or a little more: never less than the truth."""
    lengths: Tensor = torch.linalg.vector_norm(rows, dim=1)
    return lengths.mul_(1 + (rows.shape[1] + 8) * ROUNDING)


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
