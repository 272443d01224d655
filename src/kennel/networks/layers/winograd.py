"""Convolutions by fewer multiplications: Winograd's minimal filtering, for the shapes that GANs are made of.

A convolution of a tile is a bilinear map of its pixels and its weights. Written as

    outputs = A [ (B pixels) * (G weights) ]

it takes as many products as A has columns, which can be fewer than the direct way's (Winograd 1980; Lavin
and Gray 2016, arXiv 1509.09308). In two dimensions the map is applied along both axes, and over channels
every product is a matrix product. Besides the 3x3 convolution there are here

- the 4x4 convolution of stride 2: 36 products make four outputs, where the direct way has 64,
- the 3x3 convolution of maps whose pixels were doubled: with S the sum of the three weights,
  (y0, y1) = (S x1 + w0 (x0 - x1), S x1 + w2 (x2 - x1)), so that 9 products
  make four outputs, where the direct way has 36,
- the mean of 2x2 outputs of a 3x3 convolution, which is the transpose of the former: 9 products, not 36.

All four are exact but for rounding. Maps are (batch, height, width, channels) and weights (outputs, kernel,
kernel, channels) here: channels last in memory.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import pad

Combination: TypeAlias = Mapping[int, float | int]
"""Coefficients of a weighted sum, by what they multiply."""

CHUNK_BYTES = 8 << 20
"""Transformed maps are made and used up in portions of about this size, which stay in the cache."""
CHUNK_ROWS = 128
"""And of no fewer rows, with which matrix products are still fast."""


@dataclass(frozen=True)
class Part:
    """One factor pair: a combination of a tile's pixels times one of the weights."""

    pixels: Combination
    weights: Combination


@dataclass(frozen=True, eq=False)
class Filtering:
    """A bilinear algorithm along one axis; in two dimensions it is used along both.

    A tile reads `extent` pixels, the next begins `stride` later, the map's borders are padded by one zero.
    Each product is the sum of its parts, which a matrix product adds up along with the channels; every
    output is a combination of products.
    """

    kernel: int
    stride: int
    extent: int
    products: tuple[tuple[Part, ...], ...]
    outputs: tuple[Combination, ...]

    @cached_property
    def parts(self) -> list[tuple[int, int, Part]]:
        """(product, place within it, part) of all parts."""
        return [(i, place, part) for i, parts in enumerate(self.products) for place, part in enumerate(parts)]

    @property
    def width(self) -> int:
        """Parts of a product."""
        return len(self.products[0])

    def tiles(self, side: int) -> int:
        """Tiles along a side of so many pixels."""
        return (side + 2 - self.extent) // self.stride + 1

    def fits(self, side: int) -> bool:
        """Whether whole tiles cover a side of so many pixels."""
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
"""The 3x3 convolution of doubled pixels."""

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
"""The means of neighbours of a 3x3 convolution's outputs."""

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


def transformed_weights(how: Filtering, weight: Tensor) -> Tensor:
    """(outputs, kernel, kernel, channels) to (products, outputs, parts and channels)."""
    outputs, channels = weight.shape[0], weight.shape[3]
    count = len(how.products)
    result = weight.new_empty(count, count, outputs, how.width, how.width, channels)
    for i, above, part in how.parts:
        lines = _combined([(weight[:, tap], factor) for tap, factor in part.weights.items()])
        for j, beside, other in how.parts:
            terms = [(lines[:, tap], factor) for tap, factor in other.weights.items()]
            _combined(terms, result[i, j, :, above, beside])
    return result.view(count**2, outputs, how.width**2 * channels)


def _weights_back(how: Filtering, gradient: Tensor, channels: int) -> Tensor:
    """The transpose of `transformed_weights`: from its outcome's gradient to the weights'."""
    count, outputs = len(how.products), gradient.shape[1]
    gradient = gradient.view(count, count, outputs, how.width, how.width, channels)
    lines = gradient.new_empty(len(how.parts), outputs, how.kernel, channels)
    for number, (i, above, _) in enumerate(how.parts):
        for tap in range(how.kernel):
            terms = [
                (gradient[i, j, :, above, beside], part.weights[tap])
                for j, beside, part in how.parts
                if tap in part.weights
            ]
            _combined(terms, lines[number, :, tap])
    result = gradient.new_empty(outputs, how.kernel, how.kernel, channels)
    for tap in range(how.kernel):
        terms = [
            (lines[number], part.weights[tap])
            for number, (_, _, part) in enumerate(how.parts)
            if tap in part.weights
        ]
        _combined(terms, result[:, tap])
    return result


def sides_after(how: Filtering, maps: Tensor) -> tuple[int, int]:
    """Height and width of the outputs."""
    per_tile = len(how.outputs)
    return how.tiles(maps.shape[1]) * per_tile, how.tiles(maps.shape[2]) * per_tile


def filtered(how: Filtering, maps: Tensor, weights: Tensor, bias: Tensor | None, result: Tensor) -> None:
    """Writes the convolution to `result` (batch, *sides, outputs); `weights` are transformed."""
    for chunk in _chunks(how, maps):
        products = torch.bmm(_transformed_maps(how, maps[chunk]), weights.transpose(1, 2))
        made = _assembled(how, products, result[chunk])
        if bias is not None:
            made += bias


def transposed(how: Filtering, maps: Tensor, weights: Tensor, bias: Tensor | None, result: Tensor) -> None:
    """Writes the transposed convolution of (batch, height, width, outputs) to `result`.

    But for the bias it is the gradient of `filtered` with regard to its maps.
    """
    for chunk in _chunks(how, result):
        back = torch.bmm(_disassembled(how, maps[chunk]), weights)
        made = _maps_back(how, back, result[chunk].shape)
        result[chunk] = made if bias is None else made.add_(bias)


def gradients(
    how: Filtering, maps: Tensor, gradient: Tensor, weights: Tensor | None, of_weights: bool
) -> tuple[Tensor | None, Tensor | None]:
    """What `filtered` hands back to its maps (where `weights` are given) and to the weight (`of_weights`)."""
    of_maps = None if weights is None else torch.empty_like(maps)
    total: Tensor | None = None
    for chunk in _chunks(how, maps):
        wanted = _disassembled(how, gradient[chunk])
        if of_maps is not None and weights is not None:
            back = torch.bmm(wanted, weights)
            of_maps[chunk] = _maps_back(how, back, of_maps[chunk].shape)
        if of_weights:
            total = _added(total, wanted, _transformed_maps(how, maps[chunk]))
    return of_maps, None if total is None else _weights_back(how, total, maps.shape[3])


def transposed_gradients(
    how: Filtering, maps: Tensor, gradient: Tensor, weights: Tensor | None, of_weights: bool
) -> tuple[Tensor | None, Tensor | None]:
    """What `transposed` hands back to its maps (where `weights` are given) and to the weight."""
    of_maps = None if weights is None else torch.empty_like(maps)
    total: Tensor | None = None
    for chunk in _chunks(how, gradient):
        wanted = _transformed_maps(how, gradient[chunk])
        if of_maps is not None and weights is not None:
            _assembled(how, torch.bmm(wanted, weights.transpose(1, 2)), of_maps[chunk])
        if of_weights:
            total = _added(total, _disassembled(how, maps[chunk]), wanted)
    return of_maps, None if total is None else _weights_back(how, total, gradient.shape[3])


def _added(total: Tensor | None, left: Tensor, right: Tensor) -> Tensor:
    left = left.transpose(1, 2)
    return torch.bmm(left, right) if total is None else total.baddbmm_(left, right)


def _chunks(how: Filtering, maps: Tensor) -> Iterator[slice]:
    """Portions of the batch."""
    tiles = how.tiles(maps.shape[1]) * how.tiles(maps.shape[2])
    row_bytes = (len(how.products) * how.width) ** 2 * maps.shape[3] * maps.element_size()
    rows = max(CHUNK_ROWS, CHUNK_BYTES // row_bytes)
    step = max(1, -(-rows // tiles))
    portions = max(1, len(maps) // step)
    step = -(-len(maps) // portions)
    return (slice(start, start + step) for start in range(0, len(maps), step))


def _transformed_maps(how: Filtering, maps: Tensor) -> Tensor:
    """B along both axes: (products, tiles, parts and channels)."""
    batch, height, width, channels = maps.shape
    down, across, count = how.tiles(height), how.tiles(width), len(how.products)
    padded = pad(maps, (0, 0, 1, 1, 1, 1))
    result = maps.new_empty(count, count, batch, down, across, how.width, how.width, channels)
    for i, above, part in how.parts:
        lines = _combined(
            [(_every(padded, 1, tap, how.stride, down), factor) for tap, factor in part.pixels.items()]
        )
        for j, beside, other in how.parts:
            terms = [
                (_every(lines, 2, tap, how.stride, across), factor) for tap, factor in other.pixels.items()
            ]
            _combined(terms, result[i, j, :, :, :, above, beside])
    return result.view(count**2, batch * down * across, how.width**2 * channels)


def _maps_back(how: Filtering, gradient: Tensor, shape: torch.Size) -> Tensor:
    """The transpose of `_transformed_maps`, to maps of this shape."""
    batch, height, width, channels = shape
    down, across, count = how.tiles(height), how.tiles(width), len(how.products)
    gradient = gradient.view(count, count, batch, down, across, how.width, how.width, channels)
    padded = gradient.new_zeros(batch, height + 2, width + 2, channels)
    for i, above, part in how.parts:
        lines = gradient.new_zeros(batch, down, width + 2, channels)
        for j, beside, other in how.parts:
            for tap, factor in other.pixels.items():
                place = _every(lines, 2, tap, how.stride, across)
                place.add_(gradient[i, j, :, :, :, above, beside], alpha=factor)
        for tap, factor in part.pixels.items():
            _every(padded, 1, tap, how.stride, down).add_(lines, alpha=factor)
    return padded[:, 1:-1, 1:-1]


def _assembled(how: Filtering, products: Tensor, result: Tensor) -> Tensor:
    """A along both axes, written to `result` (batch, height, width, outputs)."""
    batch, height, width, outputs = result.shape
    count, per_tile = len(how.products), len(how.outputs)
    products = products.view(count, count, batch, height // per_tile, width // per_tile, outputs)
    tiled = result.view(batch, height // per_tile, per_tile, width // per_tile, per_tile, outputs)
    for row, above in enumerate(how.outputs):
        lines = _combined([(products[i], factor) for i, factor in above.items()])
        for column, beside in enumerate(how.outputs):
            _combined([(lines[j], factor) for j, factor in beside.items()], tiled[:, :, row, :, column])
    return result


def _disassembled(how: Filtering, gradient: Tensor) -> Tensor:
    """The transpose of `_assembled`: (products, tiles, outputs)."""
    batch, height, width, outputs = gradient.shape
    count, per_tile = len(how.products), len(how.outputs)
    down, across = height // per_tile, width // per_tile
    tiled = gradient.view(batch, down, per_tile, across, per_tile, outputs)
    result = gradient.new_empty(count, count, batch, down, across, outputs)
    for i in range(count):
        lines = _combined([(tiled[:, :, o], of[i]) for o, of in enumerate(how.outputs) if i in of])
        for j in range(count):
            terms = [(lines[:, :, :, o], of[j]) for o, of in enumerate(how.outputs) if j in of]
            _combined(terms, result[i, j])
    return result.view(count**2, batch * down * across, outputs)


def _every(maps: Tensor, axis: int, first: int, step: int, count: int) -> Tensor:
    """A view of `count` places along an axis, from `first` on."""
    places = [slice(None)] * maps.dim()
    places[axis] = slice(first, first + step * (count - 1) + 1, step)
    return maps[tuple(places)]


def _combined(terms: list[tuple[Tensor, float | int]], out: Tensor | None = None) -> Tensor:
    """The weighted sum, in as few passes over memory as elementwise operations need."""
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
