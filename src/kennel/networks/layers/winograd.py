"""Winograd's minimal filtering: convolutions with fewer multiplications, for the usual shapes of GANs.

A convolution of a tile is a bilinear map of its pixels and its weights. Written as

    outputs = A [ (B pixels) * (G weights) ]

it needs as many products as A has columns, which can be fewer than in the direct computation (Winograd 1980;
Lavin and Gray 2016, arXiv 1509.09308). In two dimensions the map is applied along both axes, and over
channels every product is a matrix product. The shapes are the 3x3 convolution, and

- the 4x4 convolution of stride 2: 36 products for four outputs instead of 64,
- the 3x3 convolution of nearest-neighbor upsampled maps: with S the sum of the three weights,
  (y0, y1) = (S x1 + w0 (x0 - x1), S x1 + w2 (x2 - x1)), 9 products for four outputs instead of 36,
- the mean of 2x2 outputs of a 3x3 convolution, its transpose: 9 products instead of 36.

All four are exact except for rounding. Here maps are (batch, height, width, channels) and weights (outputs,
kernel, kernel, channels), with channels last in memory.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import pad

Combination: TypeAlias = Mapping[int, float | int]
"""The coefficients of a weighted sum, by index."""

CHUNK_BYTES = 8 << 20
"""The approximate size of a chunk of transformed maps, which stays in the cache."""
CHUNK_ROWS = 128
"""The minimum number of rows of a chunk, for fast matrix products."""


@dataclass(frozen=True)
class Part:
    """The product of a combination of a tile's pixels and a combination of the weights."""

    pixels: Combination
    weights: Combination


@dataclass(frozen=True, eq=False)
class Filtering:
    """A bilinear algorithm along one axis, applied along both axes.

    A tile has `extent` pixels, the next one starts `stride` later, and maps are padded by one zero. Each
    product is the sum of its parts, which a matrix product sums together with the channels; every output is a
    combination of products.
    """

    kernel: int
    stride: int
    extent: int
    products: tuple[tuple[Part, ...], ...]
    outputs: tuple[Combination, ...]

    @cached_property
    def parts(self) -> list[tuple[int, int, Part]]:
        """(product, index in the product, part) of all parts."""
        return [(i, k, part) for i, parts in enumerate(self.products) for k, part in enumerate(parts)]

    @property
    def width(self) -> int:
        return len(self.products[0])

    def tiles(self, side: int) -> int:
        return (side + 2 - self.extent) // self.stride + 1

    def fits(self, side: int) -> bool:
        """Whether tiles cover the side exactly."""
        return side + 2 >= self.extent and (side + 2 - self.extent) % self.stride == 0


_SUM = {0: 1.0, 1: 1.0, 2: 1.0}

DOUBLED_3X3 = Filtering(
    kernel=3,
    stride=1,
    extent=3,
    products=(
        (Part({0: 1, 1: -1}, {0: 1}),),
        (Part({1: 1}, _SUM),),
        (Part({2: 1, 1: -1}, {2: 1}),),
    ),
    outputs=({0: 1, 1: 1}, {1: 1, 2: 1}),
)
"""The 3x3 convolution of upsampled pixels."""

HALVED_3X3 = Filtering(
    kernel=3,
    stride=2,
    extent=4,
    products=(
        (
            Part({0: 1, 2: -1}, {0: 1}),
            Part({1: 1, 2: 1}, _SUM),
            Part({3: 1, 1: -1}, {2: 1}),
        ),
    ),
    outputs=({0: 0.5},),
)
"""The means of neighboring outputs of a 3x3 convolution."""

STRIDED_4X4 = Filtering(
    kernel=4,
    stride=4,
    extent=6,
    products=(
        (Part({0: 1, 2: -1}, {0: 1}), Part({1: 1, 3: -1}, {1: 1})),
        (Part({2: 1}, {0: 1, 2: 1}), Part({3: 1}, {1: 1, 3: 1})),
        (Part({4: 1, 2: -1}, {2: 1}), Part({5: 1, 3: -1}, {3: 1})),
    ),
    outputs=({0: 1, 1: 1}, {1: 1, 2: 1}),
)
"""The 4x4 convolution of stride 2: F(2, 2) on the even and the odd pixels."""

TILED_3X3 = Filtering(
    kernel=3,
    stride=2,
    extent=4,
    products=(
        (Part({0: 1, 2: -1}, {0: 1}),),
        (Part({1: 1, 2: 1}, {0: 0.5, 1: 0.5, 2: 0.5}),),
        (Part({2: 1, 1: -1}, {0: 0.5, 1: -0.5, 2: 0.5}),),
        (Part({1: 1, 3: -1}, {2: 1}),),
    ),
    outputs=({0: 1, 1: 1, 2: 1}, {1: 1, 2: -1, 3: -1}),
)
"""The 3x3 convolution: F(2, 3) of Winograd."""


def weight_transform(filtering: Filtering, weight: Tensor) -> Tensor:
    """(outputs, kernel, kernel, channels) to (products, outputs, parts and channels)."""
    outputs, channels = weight.shape[0], weight.shape[3]
    count = len(filtering.products)
    result = weight.new_empty(count, count, outputs, filtering.width, filtering.width, channels)
    for i, k, part in filtering.parts:
        lines = _weighted_sum([(weight[:, tap], factor) for tap, factor in part.weights.items()])
        for j, m, other in filtering.parts:
            terms = [(lines[:, tap], factor) for tap, factor in other.weights.items()]
            _weighted_sum(terms, result[i, j, :, k, m])
    return result.view(count**2, outputs, filtering.width**2 * channels)


def _weight_transform_transposed(filtering: Filtering, gradient: Tensor, channels: int) -> Tensor:
    """The transpose of `weight_transform`, for the gradient."""
    count, outputs = len(filtering.products), gradient.shape[1]
    gradient = gradient.view(count, count, outputs, filtering.width, filtering.width, channels)
    lines = gradient.new_empty(len(filtering.parts), outputs, filtering.kernel, channels)
    for number, (i, k, _) in enumerate(filtering.parts):
        for tap in range(filtering.kernel):
            terms = [
                (gradient[i, j, :, k, m], part.weights[tap])
                for j, m, part in filtering.parts
                if tap in part.weights
            ]
            _weighted_sum(terms, lines[number, :, tap])
    result = gradient.new_empty(outputs, filtering.kernel, filtering.kernel, channels)
    for tap in range(filtering.kernel):
        terms = [
            (lines[number], part.weights[tap])
            for number, (_, _, part) in enumerate(filtering.parts)
            if tap in part.weights
        ]
        _weighted_sum(terms, result[:, tap])
    return result


def sides_after(filtering: Filtering, maps: Tensor) -> tuple[int, int]:
    per_tile = len(filtering.outputs)
    return filtering.tiles(maps.shape[1]) * per_tile, filtering.tiles(maps.shape[2]) * per_tile


def convolve(
    filtering: Filtering, maps: Tensor, weights: Tensor, bias: Tensor | None, result: Tensor
) -> None:
    """Writes the convolution to `result` (batch, *sides, outputs); `weights` are transformed."""
    for chunk in _chunks(filtering, maps):
        products = torch.bmm(_input_transform(filtering, maps[chunk]), weights.transpose(1, 2))
        outputs = _output_transform(filtering, products, result[chunk])
        if bias is not None:
            outputs += bias


def convolve_transposed(
    filtering: Filtering, maps: Tensor, weights: Tensor, bias: Tensor | None, result: Tensor
) -> None:
    """Writes the transposed convolution of (batch, height, width, outputs) to `result`.

    Without the bias it is the gradient of `convolve` by its maps.
    """
    for chunk in _chunks(filtering, result):
        products = torch.bmm(_output_transform_transposed(filtering, maps[chunk]), weights)
        outputs = _input_transform_transposed(filtering, products, result[chunk].shape)
        result[chunk] = outputs if bias is None else outputs.add_(bias)


def gradients(
    filtering: Filtering, maps: Tensor, gradient: Tensor, weights: Tensor | None, of_weights: bool
) -> tuple[Tensor | None, Tensor | None]:
    """The gradients of `convolve` by its maps (if `weights` are given) and by the weight (`of_weights`)."""
    of_maps = None if weights is None else torch.empty_like(maps)
    total: Tensor | None = None
    for chunk in _chunks(filtering, maps):
        products = _output_transform_transposed(filtering, gradient[chunk])
        if of_maps is not None and weights is not None:
            of_products = torch.bmm(products, weights)
            of_maps[chunk] = _input_transform_transposed(filtering, of_products, of_maps[chunk].shape)
        if of_weights:
            total = _accumulated(total, products, _input_transform(filtering, maps[chunk]))
    return of_maps, None if total is None else _weight_transform_transposed(filtering, total, maps.shape[3])


def transposed_gradients(
    filtering: Filtering, maps: Tensor, gradient: Tensor, weights: Tensor | None, of_weights: bool
) -> tuple[Tensor | None, Tensor | None]:
    """The gradients of `convolve_transposed`, as `gradients`."""
    of_maps = None if weights is None else torch.empty_like(maps)
    total: Tensor | None = None
    for chunk in _chunks(filtering, gradient):
        products = _input_transform(filtering, gradient[chunk])
        if of_maps is not None and weights is not None:
            _output_transform(filtering, torch.bmm(products, weights.transpose(1, 2)), of_maps[chunk])
        if of_weights:
            total = _accumulated(total, _output_transform_transposed(filtering, maps[chunk]), products)
    return of_maps, None if total is None else _weight_transform_transposed(
        filtering, total, gradient.shape[3]
    )


def _accumulated(total: Tensor | None, left: Tensor, right: Tensor) -> Tensor:
    left = left.transpose(1, 2)
    return torch.bmm(left, right) if total is None else total.baddbmm_(left, right)


def _chunks(filtering: Filtering, maps: Tensor) -> Iterator[slice]:
    tiles = filtering.tiles(maps.shape[1]) * filtering.tiles(maps.shape[2])
    row_bytes = (len(filtering.products) * filtering.width) ** 2 * maps.shape[3] * maps.element_size()
    rows = max(CHUNK_ROWS, CHUNK_BYTES // row_bytes)
    step = max(1, -(-rows // tiles))
    chunks = max(1, len(maps) // step)
    step = -(-len(maps) // chunks)
    return (slice(start, start + step) for start in range(0, len(maps), step))


def _input_transform(filtering: Filtering, maps: Tensor) -> Tensor:
    """B along both axes: (products, tiles, parts and channels)."""
    batch, height, width, channels = maps.shape
    down, across, count = filtering.tiles(height), filtering.tiles(width), len(filtering.products)
    padded = pad(maps, (0, 0, 1, 1, 1, 1))
    result = maps.new_empty(count, count, batch, down, across, filtering.width, filtering.width, channels)
    for i, k, part in filtering.parts:
        lines = _weighted_sum(
            [
                (_strided(padded, 1, tap, filtering.stride, down), factor)
                for tap, factor in part.pixels.items()
            ]
        )
        for j, m, other in filtering.parts:
            terms = [
                (_strided(lines, 2, tap, filtering.stride, across), factor)
                for tap, factor in other.pixels.items()
            ]
            _weighted_sum(terms, result[i, j, :, :, :, k, m])
    return result.view(count**2, batch * down * across, filtering.width**2 * channels)


def _input_transform_transposed(filtering: Filtering, gradient: Tensor, shape: torch.Size) -> Tensor:
    """The transpose of `_input_transform`, to maps of this shape."""
    batch, height, width, channels = shape
    down, across, count = filtering.tiles(height), filtering.tiles(width), len(filtering.products)
    gradient = gradient.view(count, count, batch, down, across, filtering.width, filtering.width, channels)
    padded = gradient.new_zeros(batch, height + 2, width + 2, channels)
    for i, k, part in filtering.parts:
        lines = gradient.new_zeros(batch, down, width + 2, channels)
        for j, m, other in filtering.parts:
            for tap, factor in other.pixels.items():
                positions = _strided(lines, 2, tap, filtering.stride, across)
                positions.add_(gradient[i, j, :, :, :, k, m], alpha=factor)
        for tap, factor in part.pixels.items():
            _strided(padded, 1, tap, filtering.stride, down).add_(lines, alpha=factor)
    return padded[:, 1:-1, 1:-1]


def _output_transform(filtering: Filtering, products: Tensor, result: Tensor) -> Tensor:
    """A along both axes, written to `result` (batch, height, width, outputs)."""
    batch, height, width, outputs = result.shape
    count, per_tile = len(filtering.products), len(filtering.outputs)
    products = products.view(count, count, batch, height // per_tile, width // per_tile, outputs)
    tiled = result.view(batch, height // per_tile, per_tile, width // per_tile, per_tile, outputs)
    for row, row_terms in enumerate(filtering.outputs):
        lines = _weighted_sum([(products[i], factor) for i, factor in row_terms.items()])
        for column, column_terms in enumerate(filtering.outputs):
            _weighted_sum(
                [(lines[j], factor) for j, factor in column_terms.items()], tiled[:, :, row, :, column]
            )
    return result


def _output_transform_transposed(filtering: Filtering, gradient: Tensor) -> Tensor:
    """The transpose of `_output_transform`: (products, tiles, outputs)."""
    batch, height, width, outputs = gradient.shape
    count, per_tile = len(filtering.products), len(filtering.outputs)
    down, across = height // per_tile, width // per_tile
    tiled = gradient.view(batch, down, per_tile, across, per_tile, outputs)
    result = gradient.new_empty(count, count, batch, down, across, outputs)
    for i in range(count):
        lines = _weighted_sum([(tiled[:, :, o], of[i]) for o, of in enumerate(filtering.outputs) if i in of])
        for j in range(count):
            terms = [(lines[:, :, :, o], of[j]) for o, of in enumerate(filtering.outputs) if j in of]
            _weighted_sum(terms, result[i, j])
    return result.view(count**2, batch * down * across, outputs)


def _strided(maps: Tensor, axis: int, first: int, step: int, count: int) -> Tensor:
    slices = [slice(None)] * maps.dim()
    slices[axis] = slice(first, first + step * (count - 1) + 1, step)
    return maps[tuple(slices)]


def _weighted_sum(terms: list[tuple[Tensor, float | int]], out: Tensor | None = None) -> Tensor:
    """The weighted sum, in the fewest passes over memory."""
    (first, factor), *rest = sorted(terms, key=lambda term: term[1] != 1)
    if not rest:
        if out is None:
            return first if factor == 1 else first * factor
        return out.copy_(first) if factor == 1 else torch.mul(first, factor, out=out)
    if factor != 1:
        first = first * factor
    total = torch.add(first, rest[0][0], alpha=rest[0][1], out=out)
    for tensor, one in rest[1:]:
        total.add_(tensor, alpha=one)
    return total
