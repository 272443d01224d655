"""A pretrained network as a fixed part of another: its maps at four scales.

Its weights are buffers in layers of their own type. They are not optimized, changed by techniques (spectral
norm, initialization), saved in checkpoints, or counted as parameters.
"""

import copy
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d, interpolate, pad, relu, relu6

from kennel.features.fused_conv import Activation, FusedConv2d, fused_convolution
from kennel.features.inverted_residuals import InvertedResidual, InvertedResidualNetwork, PaddingForStride2
from kennel.features.pretrained import GRAPHS, pretrained_graph
from kennel.shapes import Images, Maps

FixedName = Literal["efficientnet_lite1", "efficientnet_lite0", "mobilenet", "untrained"]
"""The fixed networks; those pretrained on ImageNet have the names of their extractors."""

_ACTIVATIONS = {"relu": relu, "relu6": relu6}


class FixedConvolution(nn.Module):
    """`activation(conv(maps) + added)` with constant weights."""

    weight: Tensor
    bias: Tensor | None

    def __init__(self, layer: nn.Conv2d, activation: Activation = "none", halves: bool = False) -> None:
        """Takes the weights of `layer`; `activation` is "none", "relu" or "relu6".

        With `halves` it pads maps of an even side as `padded_for_stride_2` does, without copying them: the
        kernel gets a row and a column of zeros at its start, and the padding is k // 2 on all sides.
        """
        super().__init__()
        self.leading = int(halves)
        weight = pad(layer.weight.detach(), (self.leading, 0, self.leading, 0)).clone()
        self.register_buffer("weight", weight, persistent=False)
        bias = None if layer.bias is None else layer.bias.detach().clone()
        self.register_buffer("bias", bias, persistent=False)
        assert not isinstance(layer.padding, str)
        self.stride, self.groups = layer.stride[0], layer.groups
        self.padding = layer.kernel_size[0] // 2 if halves else layer.padding[0]
        self.activation = activation

    def forward(self, maps: Maps, added: Maps | None = None) -> Maps:
        if added is None:
            return cast(Tensor, _Fixed.apply(maps, self, self.activation))  # type: ignore[no-untyped-call]
        result = cast(Tensor, _Fixed.apply(maps, self, "none")) + added  # type: ignore[no-untyped-call]
        return result if self.activation == "none" else _ACTIVATIONS[self.activation](result, inplace=True)

    def compute(self, maps: Maps, activation: Activation) -> Maps:
        """`activation(conv(maps))` without a gradient, on a CPU in one pass over memory."""
        geometry = (self.stride, self.padding)
        fused = fused_convolution(maps, self.weight, self.bias, *geometry, self.groups, activation)
        if fused is not None:
            return fused
        result = conv2d(maps, self.weight, self.bias, *geometry, 1, self.groups)
        return result if activation == "none" else _ACTIVATIONS[activation](result, inplace=True)

    def input_gradient(self, gradient: Maps, sides: torch.Size) -> Maps:
        """The gradient by the input, maps of `sides`, from the gradient by the result."""
        if self.groups > 1:
            return self._depthwise_input_gradient(gradient, sides)
        kernel, stride, padding = self.weight.shape[2], self.stride, self.padding
        if kernel == stride == 1 and padding == 0:  # faster than a transposed convolution
            return conv2d(gradient, self.weight.transpose(0, 1))
        extra = sides[0] - ((gradient.shape[2] - 1) * stride + kernel - 2 * padding)
        return conv_transpose2d(gradient, self.weight, None, stride, padding, extra)

    def _depthwise_input_gradient(self, gradient: Maps, sides: torch.Size) -> Maps:
        """As a depthwise convolution: PyTorch's gradient is slow on a CPU in bfloat16 (measured 7 to 28 times
        as slow with a stride of 2)."""
        weight = self.weight[:, :, self.leading :, self.leading :]  # leading zeros give no gradient
        kernel, stride, padding = weight.shape[2], self.stride, self.padding - self.leading
        border = kernel - 1 - padding
        if stride > 1 or border != padding:
            # Interleave the gradient with zeros and pad it.
            spread = torch.empty(
                (*gradient.shape[:2], sides[0] + kernel - 1, sides[1] + kernel - 1),
                dtype=gradient.dtype,
                device=gradient.device,
                memory_format=torch.channels_last,
            ).zero_()
            rows, columns = (border + stride * (count - 1) + 1 for count in gradient.shape[2:])
            spread[:, :, border:rows:stride, border:columns:stride] = gradient
            gradient, border = spread, 0
        return conv2d(gradient, weight.flip(2, 3), None, 1, border, 1, self.groups)


class _Fixed(torch.autograd.Function):
    """A convolution with constant weights and its activation, with a gradient by the maps only."""

    @staticmethod
    def forward(context: Any, maps: Tensor, layer: FixedConvolution, activation: Activation) -> Tensor:
        result = layer.compute(maps, activation)
        context.layer, context.sides, context.activation = layer, maps.shape[2:], activation
        last = maps.is_contiguous(memory_format=torch.channels_last)
        context.layout = torch.channels_last if last else torch.contiguous_format
        if activation != "none":
            context.save_for_backward(result)
        return result

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Any:
        # In the layout of the maps, as other layouts are slow.
        gradient = gradients[0].contiguous(memory_format=context.layout)
        if context.activation != "none":
            (result,) = context.saved_tensors
            # Clamped values are exactly 0 or 6.
            if context.activation == "relu6":
                gradient = torch.ops.aten.hardtanh_backward(gradient, result, 0.0, 6.0)
            else:
                gradient = torch.ops.aten.threshold_backward(gradient, result, 0.0)
        return context.layer.input_gradient(gradient, context.sides), None, None


def fix(network: nn.Module) -> nn.Module:
    """Replaces every convolution of `network` in place, and drops linear layers, which no tap needs."""
    halves = isinstance(network, InvertedResidual) and isinstance(network.pad, PaddingForStride2)
    if halves:
        network.pad = nn.Identity()
    for name, child in list(network.named_children()):
        if isinstance(child, nn.Conv2d):
            activation = child.activation if isinstance(child, FusedConv2d) else "none"
            fixed = FixedConvolution(child, activation, halves=halves and name == "depthwise")
            setattr(network, name, fixed)
        elif isinstance(child, nn.Linear):
            setattr(network, name, nn.Identity())
        else:
            fix(child)
    return network


class Untrained(nn.Module):
    """Four strided convolutions with random weights.

    For tests, for machines without pretrained weights, and to measure the effect of pretraining.
    """

    tap_widths = (16, 24, 32, 48)

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, stride=2, padding=1)
        self.layers = nn.ModuleList(
            nn.Conv2d(before, width, 3, stride=2, padding=1)
            for before, width in zip((16, *self.tap_widths), self.tap_widths, strict=False)
        )
        for layer in (self.stem, *cast(list[nn.Conv2d], list(self.layers))):
            nn.init.kaiming_normal_(layer.weight)
            nn.init.zeros_(cast(Tensor, layer.bias))

    def taps(self, images: Images) -> list[Maps]:
        maps = relu(self.stem(images))
        found = []
        for layer in self.layers:
            maps = relu(layer(maps))
            found.append(maps)
        return found


def _graph(name: str) -> InvertedResidualNetwork:
    """The network with its weights; on the meta device (counting of parameters) without."""
    if torch.get_default_device().type == "meta":
        return GRAPHS[name].graph()
    return pretrained_graph(name)


class FixedNetwork(nn.Module):
    """The maps of a pretrained network, in the precision of autocast if it is on.

    `tap_widths` are the channels of its four maps, at 1/4 to 1/32 of the side.
    """

    def __init__(self, name: FixedName) -> None:
        """Loads the weights of `name`. Raises `WeightsError` if they are missing."""
        super().__init__()
        graph: Untrained | InvertedResidualNetwork = Untrained() if name == "untrained" else _graph(name)
        self.tap_widths: tuple[int, ...] = tuple(graph.tap_widths)
        self.factor, self.offset = (1.0, 0.0) if name == "untrained" else GRAPHS[name].input_scale
        self.network = fix(graph).eval()
        self._cast: dict[tuple[torch.device, torch.dtype], nn.Module] = {}

    def forward(self, images: Images, side: int) -> list[Maps]:
        """Four maps of images in [-1, 1], resized (bilinear) to `side`; gray is repeated."""
        own = next(self.network.buffers()).dtype
        images = images.expand(-1, 3, -1, -1).to(own) if images.shape[1] == 1 else images.to(own)
        if images.shape[-1] != side:
            images = interpolate(images, size=(side, side), mode="bilinear", align_corners=False)
        device = images.device
        autocast = torch.is_autocast_enabled(device.type)
        precision = torch.get_autocast_dtype(device.type) if autocast else own
        scaled = (images * self.factor + self.offset).to(precision, memory_format=torch.channels_last)
        with torch.autocast(device.type, enabled=False):
            taps: list[Maps] = self._at(device, precision).taps(scaled)  # type: ignore[operator]
        return taps

    def _at(self, device: torch.device, precision: torch.dtype) -> nn.Module:
        if precision == next(self.network.buffers()).dtype:
            return self.network
        if (device, precision) not in self._cast:
            self._cast[device, precision] = copy.deepcopy(self.network).to(precision)
        return self._cast[device, precision]
