"""The convolutions of kennel's networks: `nn.Conv2d` and `nn.ConvTranspose2d`, parameters and names included.

Their gradients can be differentiated again at full speed (`twice`), and on a CPU, where `minimal` is set,
they take the way of fewer products if there is one that is faster (`minimal_filtering`). A convolution can
also be asked for its value on doubled maps, or for the mean of each 2x2 of its outputs: residual networks
want both, and neither needs to be computed in two steps.
"""

from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv_transpose2d, interpolate

from kennel.networks.layers import winograd as minimal
from kennel.networks.layers.double_backward import Kernel, convolved
from kennel.networks.layers.winograd import DOUBLED_3X3, HALVED_3X3, STRIDED_4X4, TILED_3X3, Filtering

FEWEST_CHANNELS = {DOUBLED_3X3: 32, HALVED_3X3: 64, STRIDED_4X4: 256, TILED_3X3: 384}
"""From so many channels on either side it is faster: below, the transforms take longer than they save."""


def doubled(maps: Tensor) -> Tensor:
    """Each pixel becomes four."""
    return interpolate(maps, scale_factor=2.0, mode="nearest")


def halved(maps: Tensor) -> Tensor:
    """The mean of each 2x2 pixels."""
    return avg_pool2d(maps, 2)


class Convolution(nn.Conv2d):
    """`nn.Conv2d`; where `minimal` is set, by fewer products if there is such a way and it is faster."""

    minimal = False

    def applied(self) -> tuple[Tensor, Tensor | None]:
        """The weight and the bias of one pass; a subclass may scale them.

        Each pass reads them once: a spectral norm takes a step of its power iteration at each reading.
        """
        return self.weight, self.bias

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - its name in nn.Conv2d
        """(batch, channels, height, width) to (batch, outputs, ...)."""
        return self.by(input, *self.applied())

    def by(self, maps: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The convolution by this weight and bias in place of the layer's own."""
        return self._by(self._way({3: TILED_3X3, 4: STRIDED_4X4}, maps, weight), maps, weight, bias)

    def on_doubled(self, maps: Tensor) -> Tensor:
        """`self(doubled(maps))`."""
        weight, bias = self.applied()
        how = self._way({3: DOUBLED_3X3}, maps, weight)
        return self._by(how, maps if how else doubled(maps), weight, bias)

    def halved(self, maps: Tensor) -> Tensor:
        """`halved(self(maps))`."""
        weight, bias = self.applied()
        how = self._way({3: HALVED_3X3}, maps, weight)
        made = self._by(how, maps, weight, bias)
        return made if how else halved(made)

    def _way(self, ways: dict[int, Filtering], maps: Tensor, weight: Tensor) -> Filtering | None:
        """That of `ways` by the kernel's size which serves this layer and these maps."""
        if not self.minimal or not _is_regular(self):
            return None
        return _worthwhile(ways.get(self.kernel_size[0]), maps, weight, maps.shape[2:])

    def _by(self, how: Filtering | None, maps: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if how is not None:
            return convolved(maps, weight, bias, _Minimal(how))
        if _is_plain(self):
            return cast(Tensor, self._conv_forward(maps, weight, bias))
        padding = cast(tuple[int, int], self.padding)
        return _directly(maps, weight, bias, _Direct(self.stride, padding, self.dilation, self.groups))


class TransposedConvolution(nn.ConvTranspose2d):
    """`nn.ConvTranspose2d`; where `minimal` is set by fewer products if that is faster, as `Convolution`."""

    minimal = False

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:  # noqa: A002
        """(batch, channels, height, width) to (batch, outputs, ...)."""
        if output_size is not None:
            return super().forward(input, output_size)
        return self.by(input, self.weight, self.bias)

    def by(self, maps: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The convolution by this weight and bias in place of the layer's own."""
        padding, more = cast(tuple[int, int], self.padding), cast(tuple[int, int], self.output_padding)
        if _is_plain(self):
            return conv_transpose2d(
                maps, weight, bias, self.stride, padding, more, self.groups, self.dilation
            )
        if self.minimal and _is_regular(self) and self.kernel_size[0] == 4:
            side = torch.Size((2 * maps.shape[2], 2 * maps.shape[3]))
            if (how := _worthwhile(STRIDED_4X4, maps, weight, side)) is not None:
                return convolved(maps, weight, bias, _MinimalTransposed(how))
        kernel = _Direct(self.stride, padding, self.dilation, self.groups, transposed=True, more=more)
        return _directly(maps, weight, bias, kernel)


def set_winograd(network: nn.Module, on: bool) -> None:
    """Lets all convolutions of a network take the way of fewer products, or none."""
    for module in network.modules():
        if isinstance(module, Convolution | TransposedConvolution):
            module.minimal = on


def convolve(maps: Tensor, weight: Tensor, *, stride: int, padding: int, groups: int) -> Tensor:
    """`conv2d`, with gradients that can be differentiated again at full speed."""
    return _directly(maps, weight, None, _Direct((stride, stride), (padding, padding), (1, 1), groups))


def _is_plain(layer: nn.Conv2d | nn.ConvTranspose2d) -> bool:
    """Whether the layer is left to PyTorch: a compiler sees through its own convolutions alone."""
    return torch.compiler.is_compiling() or layer.padding_mode != "zeros" or isinstance(layer.padding, str)


def _is_regular(layer: nn.Conv2d | nn.ConvTranspose2d) -> bool:
    """Whether it keeps the side (3x3) or halves or doubles it (4x4) in the usual way, without groups."""
    height, width = layer.kernel_size
    return (
        height == width
        and layer.stride == ((2, 2) if height == 4 else (1, 1))
        and layer.padding == (1, 1)
        and layer.dilation == (1, 1)
        and layer.groups == 1
        and not (isinstance(layer, nn.ConvTranspose2d) and layer.output_padding != (0, 0))
        and not _is_plain(layer)
    )


def _worthwhile(how: Filtering | None, maps: Tensor, weight: Tensor, side: torch.Size) -> Filtering | None:
    """`how`, if it serves maps of this side and is faster than the direct way."""
    if how is None or maps.device.type != "cpu" or torch.is_autocast_enabled("cpu"):
        return None
    fits = how.fits(side[0]) and how.fits(side[1])
    exact = maps.dtype == weight.dtype and weight.dtype in (torch.float32, torch.float64)
    wide = min(weight.shape[0], weight.shape[1]) >= FEWEST_CHANNELS[how]
    return how if fits and exact and wide else None


def _directly(maps: Tensor, weight: Tensor, bias: Tensor | None, kernel: "_Direct") -> Tensor:
    """By PyTorch's kernels, in the precision of autocast where that is on."""
    device = maps.device.type
    if torch.is_autocast_enabled(device):
        precision = torch.get_autocast_dtype(device)
        maps, weight = maps.to(precision), weight.to(precision)
        bias = None if bias is None else bias.to(precision)
    return convolved(maps, weight, bias, kernel)


Gradients = tuple[Tensor | None, Tensor | None, Tensor | None]


@dataclass(frozen=True)
class _Direct(Kernel):
    """PyTorch's own kernels."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    transposed: bool = False
    more: tuple[int, ...] = (0, 0)

    def apply(self, maps: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        made: Tensor = torch.ops.aten.convolution(
            maps,
            weight,
            bias,
            self.stride,
            self.padding,
            self.dilation,
            self.transposed,
            self.more,
            self.groups,
        )
        return made

    def gradients(
        self, gradient: Tensor, maps: Tensor, weight: Tensor, wanted: tuple[bool, bool, bool]
    ) -> Gradients:
        outputs = [weight.shape[1] * self.groups if self.transposed else weight.shape[0]]
        found: Gradients = torch.ops.aten.convolution_backward(
            gradient,
            maps,
            weight,
            outputs if wanted[2] else None,
            self.stride,
            self.padding,
            self.dilation,
            self.transposed,
            self.more,
            self.groups,
            wanted,
        )
        return found


@dataclass
class _Minimal(Kernel):
    """Minimal filtering."""

    _back = staticmethod(minimal.gradients)

    how: Filtering
    _known: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    def apply(self, maps: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        made = _room(maps, weight.shape[0], minimal.sides_after(self.how, _last(maps)))
        minimal.filtered(self.how, _last(maps), self.transformed(weight), bias, _last(made))
        return made

    def gradients(
        self, gradient: Tensor, maps: Tensor, weight: Tensor, wanted: tuple[bool, bool, bool]
    ) -> Gradients:
        weights = self.transformed(weight) if wanted[0] else None
        found = self._back(self.how, _last(maps), _last(gradient), weights, wanted[1])
        return _first(found[0]), _first(found[1]), gradient.sum((0, 2, 3)) if wanted[2] else None

    def transformed(self, weight: Tensor) -> Tensor:
        """The transformed weights: those of the forward pass serve the way back as well.

        The weight is held on to, so that no other can come to lie where it lay.
        """
        for known, found in self._known:
            if known.data_ptr() == weight.data_ptr() and known.stride() == weight.stride():
                return found
        found = minimal.transformed_weights(self.how, _last(weight))
        if not self._known:
            self._known.append((weight.detach(), found))
        return found


class _MinimalTransposed(_Minimal):
    """The transpose of minimal filtering."""

    _back = staticmethod(minimal.transposed_gradients)

    def apply(self, maps: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        made = _room(maps, weight.shape[1], (2 * maps.shape[2], 2 * maps.shape[3]))
        minimal.transposed(self.how, _last(maps), self.transformed(weight), bias, _last(made))
        return made


def _last(tensor: Tensor) -> Tensor:
    """A view with the channels last, copied where they are not so in memory."""
    return tensor.contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1)


def _first(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.permute(0, 3, 1, 2)


def _room(maps: Tensor, channels: int, sides: tuple[int, int]) -> Tensor:
    """Room for the outcome; not a view, which an activation could not overwrite."""
    return torch.empty(
        (len(maps), channels, *sides),
        dtype=maps.dtype,
        device=maps.device,
        memory_format=torch.channels_last,
    )
