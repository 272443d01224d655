"""Fast inner products of many rows with an error bound, for searches that decide close cases exactly.

The 8-bit product rounds each row to multiples of its own step with subtractive dither. With u uniform in [0,
1), drawn separately for each coordinate and for the two sides,

    q = floor(x / step + u),    x^ = step (q - u + 1/2)

the errors x - x^ are uniform within half a step and independent of the rows and of each other, for any data.
For such an error e, E exp(h e) = sinh(h step / 2) / (h step / 2) <= exp(h^2 step^2 / 24), so Chernoff's bound
gives

    P(|x . y - x^ . y^| > c (step_y |x| + step_x |y^|)) <= 4 exp(-6 c^2)

The dithers change the integer product by sums that belong to one row each. Processors with 8-bit dot products
(VNNI, AMX) compute it at three times the float32 rate or more.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from kennel.features.base import full_precision_matmul

ProductName: TypeAlias = Literal["auto", "float32", "int8"]
ROUNDING = 2.0**-24  # Unit roundoff of float32
CERTAINTY = 2.66
"""c: one pair exceeds its bound with a probability below 2e-18, any of 2e8 pairs with one below 4e-10."""
LEVELS = 127
MIN_DIMENSION, MAX_DIMENSION = 64, 2**31 // LEVELS**2
"""Below the minimum 8 bits gain nothing; above the maximum their sums overflow 32 bits."""


@dataclass(frozen=True)
class PreparedRows:
    """Rows in the form of a product: `values` (rows, dimension), and for each row (float32): `steps` of its
    rounding; `norms`, its Euclidean norm or slightly more; `shifts`, the contribution of the other side's
    dither to its products, in steps."""

    values: Tensor
    steps: Tensor
    norms: Tensor
    shifts: Tensor


class Product(ABC):
    """Approximate inner products of left rows with right rows, with error bounds."""

    name: str

    @abstractmethod
    def prepare(self, rows: Tensor, *, left: bool) -> PreparedRows:
        """Converts float32 (rows, dimension) for this product; the dither depends on the side."""

    @abstractmethod
    def __call__(self, left: PreparedRows, right: PreparedRows) -> Tensor:
        """Float32 (left rows, right rows). The caller may modify it; the next call overwrites it."""

    @abstractmethod
    def bound(self, left: PreparedRows, right: PreparedRows) -> Tensor:
        """Float32 (left rows,): the maximum error of a product of that row with any row of `right`."""


class Float32Product(Product):
    """The plain product. Its bound is the classical one for a sum of d rounded products, d u |x| |y|."""

    name = "float32"

    def prepare(self, rows: Tensor, *, left: bool) -> PreparedRows:
        zeros = rows.new_zeros(len(rows))
        return PreparedRows(rows, zeros, norms_of(rows), zeros)

    def __call__(self, left: PreparedRows, right: PreparedRows) -> Tensor:
        with full_precision_matmul(left.values.device):
            return left.values @ right.values.T

    def bound(self, left: PreparedRows, right: PreparedRows) -> Tensor:
        return (left.values.shape[1] + 8) * ROUNDING * left.norms * right.norms.amax()


class Int8Product(Product):
    """Dithered 8-bit rows with exact integer sums; the module docstring gives the bound."""

    name = "int8"

    def __init__(self, dimension: int, seed: int = 0) -> None:
        """The dither depends on `seed` only, so equal calls give equal products."""
        random = torch.Generator().manual_seed(seed)
        self._dithers = torch.rand(2, dimension, generator=random)
        self._integers, self._products = torch.empty(0, dtype=torch.int32), torch.empty(0)

    def prepare(self, rows: Tensor, *, left: bool) -> PreparedRows:
        own, others = self._dithers if left else self._dithers.flip(0)
        # One extra step at each end, for u and for the rounding of the quotient.
        steps = rows.abs().amax(1).div_(LEVELS - 1).clamp_(min=torch.finfo(torch.float32).tiny)
        codes = (rows / steps[:, None]).add_(own).floor_()
        # q . w' of this row with the other side's w' = w - 1/2; left rows include u' . w' too.
        shifts = codes @ (others - 0.5)
        if left:
            shifts -= (own - 0.5) @ (others - 0.5)
        return PreparedRows(codes.to(torch.int8), steps, norms_of(rows), shifts)

    def __call__(self, left: PreparedRows, right: PreparedRows) -> Tensor:
        shape = (len(left.values), len(right.values))
        size = shape[0] * shape[1]
        if self._integers.numel() < size:
            # Reused between calls: new memory pages for each tile cost more than its arithmetic.
            self._integers, self._products = torch.empty(size, dtype=torch.int32), torch.empty(size)
        integers, products = self._integers[:size].view(shape), self._products[:size].view(shape)
        torch._int_mm(left.values, right.values.T, out=integers)
        products.copy_(integers).sub_(right.shifts).sub_(left.shifts[:, None])
        return products.mul_(right.steps).mul_(left.steps[:, None])

    def bound(self, left: PreparedRows, right: PreparedRows) -> Tensor:
        dimension = left.values.shape[1]
        root = dimension**0.5
        coarsest = right.steps.amax()
        # A rounded right row differs from the given one by at most half a step in each coordinate.
        largest = (right.norms + right.steps * (0.5 * root)).amax()
        dithered = CERTAINTY * (coarsest * left.norms + left.steps * largest)
        # The codes times their steps differ from the rows by less than a step in each coordinate.
        codes, largest_codes = left.norms + left.steps * root, (right.norms + right.steps * root).amax()
        # Sums of d rounded products of codes with a dither of at most 1/2, and quotients plus dither of at
        # most 127, which are 2^-16 of a step off in each coordinate.
        summed = (0.5 * (dimension + 8) * ROUNDING + 2.0**-16) * root
        rounded = summed * (coarsest * codes + left.steps * largest_codes)
        # The remaining float32 operations on the product.
        bound: Tensor = dithered + rounded + 16 * ROUNDING * codes * largest_codes
        return bound


def norms_of(rows: Tensor) -> Tensor:
    """Euclidean norms, float32 (rows,), rounded up."""
    norms: Tensor = torch.linalg.vector_norm(rows, dim=1)
    return norms.mul_(1 + (rows.shape[1] + 8) * ROUNDING)


def choose_product(dimension: int, device: torch.device, name: ProductName = "auto") -> Product:
    """The fastest product here: 8 bits if the processor has 8-bit dot products, else float32."""
    faster = device.type == "cpu" and MIN_DIMENSION <= dimension <= MAX_DIMENSION and _has_int8()
    # torch's integer product of single columns is wrong.
    if (name == "int8" and dimension > 1) or (name == "auto" and faster):
        return Int8Product(dimension)
    return Float32Product()


def _has_int8() -> bool:
    checks = (getattr(torch.cpu, f"_is_{feature}_supported", None) for feature in ("vnni", "amx_tile"))
    return hasattr(torch, "_int_mm") and any(check() for check in checks if check is not None)
