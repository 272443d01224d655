"""The convolutions of kennel's networks: PyTorch's, and on a CPU, where asked for, those of fewer products.

`Convolution` and `TransposedConvolution` are `nn.Conv2d` and `nn.ConvTranspose2d`, with the same parameters
and names. A convolution can also be asked for its value on doubled maps, or for the mean of each 2x2 of
its outputs: residual networks want both, and neither needs to be computed in two steps.
"""

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv_transpose2d, interpolate

from kennel.networks import minimal_filtering as minimal
from kennel.networks.minimal_filtering import DOUBLED_3X3, HALVED_3X3, STRIDED_4X4, TILED_3X3, Filtering

FEWEST_CHANNELS = {DOUBLED_3X3: 32, HALVED_3X3: 96, STRIDED_4X4: 256, TILED_3X3: 384}
"""From so many channels on either side it is faster: below, the transforms take longer than they save."""

Plain = Callable[[Tensor, Tensor], Tensor]
"""The same convolution in PyTorch's way, of maps and a weight, without the bias."""


def doubled(maps: Tensor) -> Tensor:
    """Each pixel becomes four."""
    return interpolate(maps, scale_factor=2.0, mode="nearest")


def halved(maps: Tensor) -> Tensor:
    """The mean of each 2x2 pixels."""
    return avg_pool2d(maps, 2)


class Convolution(nn.Conv2d):
    """`nn.Conv2d`; where `minimal` is set, by fewer products if there is such a way and it is faster."""

    minimal = False

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - its name in nn.Conv2d
        """(batch, channels, height, width) to (batch, outputs, ...)."""
        weight = self.weight  # read once: a spectral norm takes a step of its power iteration at each reading
        how = self._way({3: TILED_3X3, 4: STRIDED_4X4}, input, weight)
        if how is None:
            return cast(Tensor, self._conv_forward(input, weight, self.bias))
        return _filtered(input, weight, self.bias, how, self._plainly)

    def on_doubled(self, maps: Tensor) -> Tensor:
        """`self(doubled(maps))`."""
        weight = self.weight
        how = self._way({3: DOUBLED_3X3}, maps, weight)
        if how is None:
            return cast(Tensor, self._conv_forward(doubled(maps), weight, self.bias))
        return _filtered(
            maps, weight, self.bias, how, lambda maps, weight: self._plainly(doubled(maps), weight)
        )

    def halved(self, maps: Tensor) -> Tensor:
        """`halved(self(maps))`."""
        weight = self.weight
        how = self._way({3: HALVED_3X3}, maps, weight)
        if how is None:
            return halved(self._conv_forward(maps, weight, self.bias))
        return _filtered(
            maps, weight, self.bias, how, lambda maps, weight: halved(self._plainly(maps, weight))
        )

    def _plainly(self, maps: Tensor, weight: Tensor) -> Tensor:
        return cast(Tensor, self._conv_forward(maps, weight, None))

    def _way(self, ways: dict[int, Filtering], maps: Tensor, weight: Tensor) -> Filtering | None:
        """That of `ways` by the kernel's size which serves this layer and these maps."""
        if not self.minimal or not _is_regular(self):
            return None
        return _worthwhile(ways.get(self.kernel_size[0]), maps, weight, maps.shape[2:])


class TransposedConvolution(nn.ConvTranspose2d):
    """`nn.ConvTranspose2d`; where `minimal` is set by fewer products if that is faster, as `Convolution`."""

    minimal = False

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:  # noqa: A002
        """(batch, channels, height, width) to (batch, outputs, ...)."""
        weight = self.weight
        side = torch.Size((2 * input.shape[2], 2 * input.shape[3]))
        how = None
        if self.minimal and output_size is None and _is_regular(self) and self.kernel_size[0] == 4:
            how = _worthwhile(STRIDED_4X4, input, weight, side)
        if how is None:
            return super().forward(input, output_size)
        return cast(Tensor, _FilteredTransposed.apply(input, weight, self.bias, how, self._plainly))  # type: ignore[no-untyped-call]

    def _plainly(self, maps: Tensor, weight: Tensor) -> Tensor:
        return conv_transpose2d(maps, weight, stride=2, padding=1)


def _filtered(maps: Tensor, weight: Tensor, bias: Tensor | None, how: Filtering, plain: Plain) -> Tensor:
    return cast(Tensor, _Filtered.apply(maps, weight, bias, how, plain))  # type: ignore[no-untyped-call]


def set_minimal_filtering(network: nn.Module, on: bool) -> None:
    """Lets all convolutions of a network take the way of fewer products, or none."""
    for module in network.modules():
        if isinstance(module, Convolution | TransposedConvolution):
            module.minimal = on


def _is_regular(layer: nn.Conv2d | nn.ConvTranspose2d) -> bool:
    """Whether it keeps the side (3x3) or halves or doubles it (4x4) in the usual way, without groups."""
    height, width = layer.kernel_size
    return (
        height == width
        and layer.stride == ((2, 2) if height == 4 else (1, 1))
        and layer.padding == (1, 1)
        and layer.dilation == (1, 1)
        and layer.groups == 1
        and layer.padding_mode == "zeros"
        and not (isinstance(layer, nn.ConvTranspose2d) and layer.output_padding != (0, 0))
    )


def _worthwhile(how: Filtering | None, maps: Tensor, weight: Tensor, side: torch.Size) -> Filtering | None:
    """`how`, if it serves maps of this side and is faster than the direct way."""
    if how is None or maps.device.type != "cpu" or torch.is_autocast_enabled("cpu"):
        return None
    fits = how.fits(side[0]) and how.fits(side[1])
    exact = maps.dtype == weight.dtype and weight.dtype in (torch.float32, torch.float64)
    wide = min(weight.shape[0], weight.shape[1]) >= FEWEST_CHANNELS[how]
    return how if fits and exact and wide else None


def _last(tensor: Tensor) -> Tensor:
    """A view with the channels last, copied where they are not so in memory."""
    return tensor.contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1)


def _made(maps: Tensor, channels: int, sides: tuple[int, int]) -> Tensor:
    """Room for the outcome; not a view, which an activation could not overwrite."""
    return torch.empty(
        (len(maps), channels, *sides),
        dtype=maps.dtype,
        device=maps.device,
        memory_format=torch.channels_last,
    )


def _first(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.permute(0, 3, 1, 2)


class _Filtered(torch.autograd.Function):
    """A convolution by minimal filtering, its gradients too; second derivatives go PyTorch's way."""

    @staticmethod
    def forward(
        context: Any, maps: Tensor, weight: Tensor, bias: Tensor | None, how: Filtering, plain: Plain
    ) -> Tensor:
        context.how, context.plain = how, plain
        weights = minimal.transformed_weights(how, _last(weight))
        context.save_for_backward(maps, weight)
        # Kept for the way back, where it is needed again: the weights do not move in between.
        context.weights = weights if context.needs_input_grad[0] else None
        made = _made(maps, weight.shape[0], minimal.sides_after(how, _last(maps)))
        minimal.filtered(how, _last(maps), weights, bias, _last(made))
        return made

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Any:
        maps, weight = context.saved_tensors
        of_bias = gradients[0].sum((0, 2, 3)) if context.needs_input_grad[2] else None
        if torch.is_grad_enabled():
            return *_differentiably(context, maps, weight, gradients[0]), of_bias, None, None
        found = minimal.gradients(
            context.how, _last(maps), _last(gradients[0]), context.weights, context.needs_input_grad[1]
        )
        return *map(_first, found), of_bias, None, None


class _FilteredTransposed(torch.autograd.Function):
    """The same of a transposed convolution."""

    @staticmethod
    def forward(
        context: Any, maps: Tensor, weight: Tensor, bias: Tensor | None, how: Filtering, plain: Plain
    ) -> Tensor:
        context.how, context.plain = how, plain
        weights = minimal.transformed_weights(how, _last(weight))
        context.save_for_backward(maps, weight)
        context.weights = weights if context.needs_input_grad[0] else None
        made = _made(maps, weight.shape[1], (2 * maps.shape[2], 2 * maps.shape[3]))
        minimal.transposed(how, _last(maps), weights, bias, _last(made))
        return made

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Any:
        maps, weight = context.saved_tensors
        of_bias = gradients[0].sum((0, 2, 3)) if context.needs_input_grad[2] else None
        if torch.is_grad_enabled():
            return *_differentiably(context, maps, weight, gradients[0]), of_bias, None, None
        found = minimal.transposed_gradients(
            context.how, _last(maps), _last(gradients[0]), context.weights, context.needs_input_grad[1]
        )
        return *map(_first, found), of_bias, None, None


def _differentiably(
    context: Any, maps: Tensor, weight: Tensor, gradient: Tensor
) -> tuple[Tensor | None, Tensor | None]:
    """The gradients of the plain convolution, which can be differentiated again."""
    wanted = [one for one, needed in zip((maps, weight), context.needs_input_grad, strict=False) if needed]
    found = iter(torch.autograd.grad(context.plain(maps, weight), wanted, gradient, create_graph=True))
    of_maps = next(found) if context.needs_input_grad[0] else None
    return of_maps, next(found) if context.needs_input_grad[1] else None
