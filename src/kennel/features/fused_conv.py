"""A convolution with its addition and activation in one pass over memory.

On a CPU, networks of small images spend much time on moving maps between memory and a convolution, its bias,
its activation and a residual addition. oneDNN applies all of them while a result is in registers, with
weights in a layout for the input shape. PyTorch has operators for this. Without them (other devices, other
builds) the plain operations run.
"""

from typing import Any, Literal, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

Maps = Float[Tensor, "_ _ _ _"]
Activation: TypeAlias = Literal["none", "relu", "relu6"]
_ATTRIBUTES: dict[Activation, tuple[str, list[float]]] = {
    "none": ("none", []),
    "relu": ("relu", []),
    "relu6": ("hardtanh", [0.0, 6.0]),
}


class FusedConv2d(nn.Conv2d):
    """`activation(conv(maps) + added)` of (batch, channels, height, width). After `pack` it is for inference:
    with gradients, or a dtype other than that of the packed weights, the plain operations run. Attributes:
    `activation`; `packed`, the weights in oneDNN's layout, None before `pack`."""

    activation: Activation = "none"
    packed: Tensor | None = None

    def pack(self, shape: tuple[int, ...]) -> None:
        """Packs the weights for inputs of about this shape (any batch size); they must not change afterwards.
        Does nothing if this build of PyTorch has no such layout."""
        reorder = getattr(torch._C._nn, "mkldnn_reorder_conv2d_weight", None)
        if reorder is None or self.bias is None or not _supports(self.weight.dtype):
            return
        weight: Any = self.weight.detach().contiguous().to_mkldnn()
        self.packed = reorder(weight, *self._geometry(), list(shape))

    def _geometry(self) -> tuple[list[int], list[int], list[int], int]:
        padding = [0, 0] if isinstance(self.padding, str) else list(self.padding)
        return padding, list(self.stride), list(self.dilation), self.groups

    def forward(self, maps: Maps, added: Maps | None = None) -> Maps:
        """Shapes as in a convolution; `added` has the shape of the result and may be overwritten."""
        if self._can_use_packed(maps, added):
            return self._fused(maps, added)
        result = super().forward(maps)
        if added is not None:
            result = result.add_(added)
        if self.activation == "relu":
            return functional.relu(result, inplace=True)
        return functional.relu6(result, inplace=True) if self.activation == "relu6" else result

    def _can_use_packed(self, maps: Maps, added: Maps | None) -> bool:
        """oneDNN's operators support neither gradients nor autocast."""
        if self.packed is None or maps.dtype != self.packed.dtype or maps.device.type != "cpu":
            return False
        if torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") != maps.dtype:
            return False
        inputs = (maps, added, self.weight, self.bias)
        return not (torch.is_grad_enabled() and any(one is not None and one.requires_grad for one in inputs))

    def _fused(self, maps: Maps, added: Maps | None) -> Maps:
        attribute, scalars = _ATTRIBUTES[self.activation]
        arguments = (self.packed, self.bias, *self._geometry())
        operators: Any = torch.ops.mkldnn
        result: Tensor
        if added is None:
            result = operators._convolution_pointwise(maps, *arguments, attribute, scalars, "")
            return result
        # After an addition oneDNN's operator supports only ReLU.
        relu = "relu" if self.activation == "relu" else None
        result = operators._convolution_pointwise.binary(maps, added, *arguments, "add", 1.0, relu, [], "")
        return functional.relu6(result, inplace=True) if self.activation == "relu6" else result


def cpu_has_bfloat16() -> bool:
    """Whether this CPU computes in bfloat16. CPUs without AVX-512 emulate it, tens of times slower than
    float32, and oneDNN's operators raise there."""
    supported = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    return supported is not None and bool(torch._C._has_mkldnn and supported())


def _supports(dtype: torch.dtype) -> bool:
    """Whether oneDNN's operators support this dtype here."""
    if dtype == torch.bfloat16:
        return cpu_has_bfloat16()
    return bool(torch._C._has_mkldnn) and dtype == torch.float32


def fused_convolution(
    maps: Maps,
    weight: Tensor,
    bias: Tensor | None,
    stride: int,
    padding: int,
    groups: int,
    activation: Activation,
) -> Maps | None:
    """`activation(conv(maps))` with plain weights, in one pass over memory and without gradients. None if
    this build of PyTorch, the device or the dtype has no such operator."""
    operator = getattr(torch.ops.mkldnn, "_convolution_pointwise", None)
    if operator is None or maps.device.type != "cpu" or not _supports(maps.dtype):
        return None
    attribute, scalars = _ATTRIBUTES[activation]
    result: Tensor = operator(
        maps, weight, bias, [padding] * 2, [stride] * 2, [1, 1], groups, attribute, scalars, ""
    )
    return result


def pack_convolutions(network: nn.Module, example: Maps) -> None:
    """Packs every `FusedConv2d` of a network for the shapes in a pass of `example`. If the packed network
    does not run, it is unpacked again."""
    shapes: dict[FusedConv2d, tuple[int, ...]] = {}

    def remember(module: nn.Module, given: tuple[Any, ...]) -> None:
        assert isinstance(module, FusedConv2d)
        shapes[module] = tuple(given[0].shape)

    layers = [module for module in network.modules() if isinstance(module, FusedConv2d)]
    handles = [layer.register_forward_pre_hook(remember) for layer in layers]
    with torch.inference_mode():
        network(example)
    for handle in handles:
        handle.remove()
    for module, shape in shapes.items():
        module.pack(shape)
    try:
        with torch.inference_mode():
            network(example)
    except (RuntimeError, AttributeError):  # the layout exists, but the operators do not run or do not exist
        for module in shapes:
            module.packed = None
