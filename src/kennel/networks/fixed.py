"""A pretrained network as a fixed part of another: its maps at four scales, and no weight that could change.

Its weights are buffers that no checkpoint holds, in layers of a kind of their own. So no optimizer moves
them, no technique reworks them (a spectral norm, an initialization), and no count of parameters has them.
"""

import copy
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, interpolate, relu, relu6

from kennel.features.inverted_residuals import InvertedResidualNetwork
from kennel.features.pretrained import GRAPHS, pretrained_graph
from kennel.shapes import Images, Maps

FixedName = Literal["efficientnet_lite1", "efficientnet_lite0", "mobilenet", "untrained"]
"""The networks to look through, those that are trained on ImageNet by the names of their extractors."""


class FixedConvolution(nn.Module):
    """`activation(conv(maps) + added)` with weights that never change."""

    weight: Tensor
    bias: Tensor | None

    def __init__(self, layer: nn.Conv2d, activation: str = "none") -> None:
        """Takes the weights of `layer`; `activation` is "none", "relu" or "relu6"."""
        super().__init__()
        self.register_buffer("weight", layer.weight.detach().clone(), persistent=False)
        bias = None if layer.bias is None else layer.bias.detach().clone()
        self.register_buffer("bias", bias, persistent=False)
        self.stride, self.padding, self.groups = layer.stride, layer.padding, layer.groups
        self.activation = activation

    def forward(self, maps: Maps, added: Maps | None = None) -> Maps:
        """Shapes as of a convolution; `added` has that of the result."""
        if self.groups > 1:
            made = cast(Tensor, _Depthwise.apply(maps, self))  # type: ignore[no-untyped-call]
        else:
            made = conv2d(maps, self.weight, self.bias, self.stride, self.padding)
        if added is not None:
            made = made + added
        if self.activation == "none":
            return made
        return relu(made) if self.activation == "relu" else relu6(made)


class _Depthwise(torch.autograd.Function):
    """A depthwise convolution with fixed weights; its gradient by the images is a depthwise convolution too.

    PyTorch's own gradient takes a slow path on a CPU in bfloat16: with a stride of 2 it was measured 7 to 28
    times as slow as this one.
    """

    @staticmethod
    def forward(context: Any, maps: Tensor, layer: FixedConvolution) -> Tensor:
        context.layer, context.side = layer, maps.shape[2:]
        return conv2d(maps, layer.weight, layer.bias, layer.stride, layer.padding, (1, 1), layer.groups)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Any:
        (gradient,), layer = gradients, context.layer
        kernel, stride, padding = layer.weight.shape[2], layer.stride[0], layer.padding[0]
        border = kernel - 1 - padding
        height, width = context.side
        if stride > 1 or border != padding:
            # Zeros between the gradient's pixels and around them, as a convolution of the input's side needs.
            apart = gradient.new_zeros(
                (*gradient.shape[:2], height + kernel - 1, width + kernel - 1)
            ).contiguous(memory_format=torch.channels_last)
            rows, columns = (border + stride * (count - 1) + 1 for count in gradient.shape[2:])
            apart[:, :, border:rows:stride, border:columns:stride] = gradient
            gradient, border = apart, 0
        flipped = layer.weight.flip(2, 3)
        return conv2d(gradient, flipped, None, 1, border, 1, layer.groups), None


def fix(network: nn.Module) -> nn.Module:
    """`network` with every convolution fixed, in place; linear layers, which no tap needs, are dropped."""
    for name, child in list(network.named_children()):
        if isinstance(child, nn.Conv2d):
            setattr(network, name, FixedConvolution(child, getattr(child, "activation", "none")))
        elif isinstance(child, nn.Linear):
            setattr(network, name, nn.Identity())
        else:
            fix(child)
    return network


class Untrained(nn.Module):
    """Four strided convolutions with random weights: what is left of the method without a pretrained network.

    For tests, for machines without weights, and to see what the training on ImageNet is worth.
    """

    tap_widths = (16, 24, 32, 48)

    def __init__(self) -> None:
        """Draws the weights from the global random generator (He et al. 2015)."""
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
        """The maps at 1/4, 1/8, 1/16 and 1/32 of the side."""
        maps = relu(self.stem(images))
        found = []
        for layer in self.layers:
            maps = relu(layer(maps))
            found.append(maps)
        return found


def _graph(name: str) -> InvertedResidualNetwork:
    """With its weights; where parameters are only counted, on the meta device, without."""
    if torch.get_default_device().type == "meta":
        return GRAPHS[name].graph()
    return pretrained_graph(name)


class FixedNetwork(nn.Module):
    """The maps that a pretrained network makes of images, in the precision of autocast where that is on.

    `tap_widths` are the channels of its four maps, at 1/4 to 1/32 of the side.
    """

    def __init__(self, name: FixedName) -> None:
        """Opens the weights of `name`; raises `WeightsError` where they are not at hand."""
        super().__init__()
        graph: Untrained | InvertedResidualNetwork = Untrained() if name == "untrained" else _graph(name)
        self.tap_widths: tuple[int, ...] = tuple(graph.tap_widths)
        self.factor, self.offset = (1.0, 0.0) if name == "untrained" else GRAPHS[name].input_scale
        self.network = fix(graph).eval()
        self._cast: dict[tuple[torch.device, torch.dtype], nn.Module] = {}

    def forward(self, images: Images, side: int) -> list[Maps]:
        """Four maps of images in [-1, 1], which are resized (bilinear) to `side`; grey is repeated."""
        own = next(self.network.buffers()).dtype
        images = images.expand(-1, 3, -1, -1).to(own) if images.shape[1] == 1 else images.to(own)
        if images.shape[-1] != side:
            images = interpolate(images, size=(side, side), mode="bilinear", align_corners=False)
        device = images.device
        lower = torch.is_autocast_enabled(device.type)
        precision = torch.get_autocast_dtype(device.type) if lower else own
        entering = (images * self.factor + self.offset).to(precision, memory_format=torch.channels_last)
        with torch.autocast(device.type, enabled=False):
            taps: list[Maps] = self._in(device, precision).taps(entering)  # type: ignore[operator]
        return taps

    def _in(self, device: torch.device, precision: torch.dtype) -> nn.Module:
        """The network in this precision: cast once, not at every pass."""
        if precision == next(self.network.buffers()).dtype:
            return self.network
        if (device, precision) not in self._cast:
            self._cast[device, precision] = copy.deepcopy(self.network).to(precision)
        return self._cast[device, precision]
