"""The convolutions of all networks: `nn.Conv2d` and `nn.ConvTranspose2d` with the same parameters and names.

Second derivatives are as fast as first ones (`double_backward`). On a CPU, with `winograd` set, a convolution
uses fewer multiplications if that is faster. `Convolution` also fuses an upsampling before it or a 2x2 mean
after it.
"""

from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv_transpose2d, interpolate

from kennel.networks.layers import winograd
from kennel.networks.layers.double_backward import Kernel, convolved
from kennel.networks.layers.winograd import DOUBLED_3X3, HALVED_3X3, STRIDED_4X4, TILED_3X3, Filtering

MIN_CHANNELS = {DOUBLED_3X3: 32, HALVED_3X3: 64, STRIDED_4X4: 256, TILED_3X3: 384}
"""The minimum number of channels, on both sides, at which the savings exceed the cost of the transforms."""


def upsample(maps: Tensor) -> Tensor:
    """Doubles the side by repetition."""
    return interpolate(maps, scale_factor=2.0, mode="nearest")


def downsample(maps: Tensor) -> Tensor:
    """Halves the side by 2x2 means."""
    return avg_pool2d(maps, 2)


class Convolution(nn.Conv2d):
    """`nn.Conv2d`; with `winograd`, it uses fewer multiplications if that is faster."""

    winograd = False

    def scaled_parameters(self) -> tuple[Tensor, Tensor | None]:
        """The weight and the bias of a pass; a subclass may scale them.

        Read once per pass: spectral norm runs a power iteration at each access.
        """
        return self.weight, self.bias

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - its name in nn.Conv2d
        return self.convolve_with(input, *self.scaled_parameters())

    def convolve_with(self, maps: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The convolution with this weight and bias instead of the layer's own."""
        filtering = self._filtering({3: TILED_3X3, 4: STRIDED_4X4}, maps, weight)
        return self._convolve(filtering, maps, weight, bias)

    def forward_upsampled(self, maps: Tensor) -> Tensor:
        """`self(upsample(maps))`."""
        weight, bias = self.scaled_parameters()
        filtering = self._filtering({3: DOUBLED_3X3}, maps, weight)
        return self._convolve(filtering, maps if filtering else upsample(maps), weight, bias)

    def forward_downsampled(self, maps: Tensor) -> Tensor:
        """`downsample(self(maps))`."""
        weight, bias = self.scaled_parameters()
        filtering = self._filtering({3: HALVED_3X3}, maps, weight)
        result = self._convolve(filtering, maps, weight, bias)
        return result if filtering else downsample(result)

    def _filtering(self, by_kernel: dict[int, Filtering], maps: Tensor, weight: Tensor) -> Filtering | None:
        """The algorithm for this kernel size, if it applies to these maps and is faster."""
        if not self.winograd or not _is_regular(self):
            return None
        return _if_faster(by_kernel.get(self.kernel_size[0]), maps, weight, maps.shape[2:])

    def _convolve(
        self, filtering: Filtering | None, maps: Tensor, weight: Tensor, bias: Tensor | None
    ) -> Tensor:
        if filtering is not None:
            return convolved(maps, weight, bias, _Winograd(filtering))
        if _is_plain(self):
            return cast(Tensor, self._conv_forward(maps, weight, bias))
        padding = cast(tuple[int, int], self.padding)
        return _convolve_direct(maps, weight, bias, _Direct(self.stride, padding, self.dilation, self.groups))


class TransposedConvolution(nn.ConvTranspose2d):
    """`nn.ConvTranspose2d`; with `winograd`, it uses fewer multiplications if that is faster."""

    winograd = False

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:  # noqa: A002
        if output_size is not None:
            return super().forward(input, output_size)
        return self.convolve_with(input, self.weight, self.bias)

    def convolve_with(self, maps: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        padding, extra = cast(tuple[int, int], self.padding), cast(tuple[int, int], self.output_padding)
        if _is_plain(self):
            return conv_transpose2d(
                maps, weight, bias, self.stride, padding, extra, self.groups, self.dilation
            )
        if self.winograd and _is_regular(self) and self.kernel_size[0] == 4:
            sides = torch.Size((2 * maps.shape[2], 2 * maps.shape[3]))
            if (filtering := _if_faster(STRIDED_4X4, maps, weight, sides)) is not None:
                return convolved(maps, weight, bias, _WinogradTransposed(filtering))
        kernel = _Direct(self.stride, padding, self.dilation, self.groups, transposed=True, extra=extra)
        return _convolve_direct(maps, weight, bias, kernel)


def set_winograd(network: nn.Module, on: bool) -> None:
    for module in network.modules():
        if isinstance(module, Convolution | TransposedConvolution):
            module.winograd = on


def convolve(maps: Tensor, weight: Tensor, *, stride: int, padding: int, groups: int) -> Tensor:
    """`conv2d`, with fast second derivatives."""
    return _convolve_direct(maps, weight, None, _Direct((stride, stride), (padding, padding), (1, 1), groups))


def _is_plain(layer: nn.Conv2d | nn.ConvTranspose2d) -> bool:
    """Whether to call PyTorch's convolution, which the compiler needs."""
    return torch.compiler.is_compiling() or layer.padding_mode != "zeros" or isinstance(layer.padding, str)


def _is_regular(layer: nn.Conv2d | nn.ConvTranspose2d) -> bool:
    """Whether it is a 3x3 convolution that keeps the side, or a 4x4 one of stride 2, without groups."""
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


def _if_faster(
    filtering: Filtering | None, maps: Tensor, weight: Tensor, sides: torch.Size
) -> Filtering | None:
    """`filtering`, if it applies to maps of these sides and is faster than the direct convolution."""
    if filtering is None or maps.device.type != "cpu" or torch.is_autocast_enabled("cpu"):
        return None
    fits = filtering.fits(sides[0]) and filtering.fits(sides[1])
    exact = maps.dtype == weight.dtype and weight.dtype in (torch.float32, torch.float64)
    wide = min(weight.shape[0], weight.shape[1]) >= MIN_CHANNELS[filtering]
    return filtering if fits and exact and wide else None


def _convolve_direct(maps: Tensor, weight: Tensor, bias: Tensor | None, kernel: "_Direct") -> Tensor:
    device = maps.device.type
    if torch.is_autocast_enabled(device):
        precision = torch.get_autocast_dtype(device)
        maps, weight = maps.to(precision), weight.to(precision)
        bias = None if bias is None else bias.to(precision)
    return convolved(maps, weight, bias, kernel)


Gradients = tuple[Tensor | None, Tensor | None, Tensor | None]


@dataclass(frozen=True)
class _Direct(Kernel):
    """PyTorch's kernels."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    transposed: bool = False
    extra: tuple[int, ...] = (0, 0)
    """The output padding."""

    @property
    def _geometry(self) -> tuple[object, ...]:
        return (self.stride, self.padding, self.dilation, self.transposed, self.extra, self.groups)

    def apply(self, maps: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return cast(Tensor, torch.ops.aten.convolution(maps, weight, bias, *self._geometry))

    def gradients(
        self, gradient: Tensor, maps: Tensor, weight: Tensor, needed: tuple[bool, bool, bool]
    ) -> Gradients:
        channels = weight.shape[1] * self.groups if self.transposed else weight.shape[0]
        bias_sizes = [channels] if needed[2] else None
        found: Gradients = torch.ops.aten.convolution_backward(
            gradient, maps, weight, bias_sizes, *self._geometry, needed
        )
        return found


@dataclass
class _Winograd(Kernel):
    """Minimal filtering."""

    _gradients = staticmethod(winograd.gradients)

    filtering: Filtering
    _cache: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    def apply(self, maps: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        result = _empty(maps, weight.shape[0], winograd.sides_after(self.filtering, _nhwc(maps)))
        winograd.convolve(self.filtering, _nhwc(maps), self.transformed_weight(weight), bias, _nhwc(result))
        return result

    def gradients(
        self, gradient: Tensor, maps: Tensor, weight: Tensor, needed: tuple[bool, bool, bool]
    ) -> Gradients:
        weights = self.transformed_weight(weight) if needed[0] else None
        found = self._gradients(self.filtering, _nhwc(maps), _nhwc(gradient), weights, needed[1])
        return _nchw(found[0]), _nchw(found[1]), gradient.sum((0, 2, 3)) if needed[2] else None

    def transformed_weight(self, weight: Tensor) -> Tensor:
        """The transformed weight, cached for the backward pass.

        The cache keeps the weight too, so that no other tensor gets its address.
        """
        for cached, found in self._cache:
            if cached.data_ptr() == weight.data_ptr() and cached.stride() == weight.stride():
                return found
        found = winograd.weight_transform(self.filtering, _nhwc(weight))
        if not self._cache:
            self._cache.append((weight.detach(), found))
        return found


class _WinogradTransposed(_Winograd):
    """The transpose of minimal filtering."""

    _gradients = staticmethod(winograd.transposed_gradients)

    def apply(self, maps: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        result = _empty(maps, weight.shape[1], (2 * maps.shape[2], 2 * maps.shape[3]))
        winograd.convolve_transposed(
            self.filtering, _nhwc(maps), self.transformed_weight(weight), bias, _nhwc(result)
        )
        return result


def _nhwc(tensor: Tensor) -> Tensor:
    """A view with the channels last, copied if they are not last in memory."""
    return tensor.contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1)


def _nchw(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.permute(0, 3, 1, 2)


def _empty(maps: Tensor, channels: int, sides: tuple[int, int]) -> Tensor:
    """An empty result; not a view, so that an activation can overwrite it."""
    return torch.empty(
        (len(maps), channels, *sides),
        dtype=maps.dtype,
        device=maps.device,
        memory_format=torch.channels_last,
    )
