"""The Inception v3 of 2015-12-05 (Szegedy et al., arXiv 1512.00567), which defines FID and IS.

It differs from the published architecture as the TensorFlow graph of the weights does: average pools exclude
the zero padding, the pool branch of the last block is a maximum pool, and there are 1008 classes. Parameter
names are those of the weights file of torch-fidelity and pytorch-fid.

A block is a table: one line per branch, each a sequence of convolutions and pools.
"""

from dataclasses import dataclass
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from kennel.features.fused_conv import FusedConv2d

Maps = Float[Tensor, "_ _ _ _"]
CLASSES = 1008
INPUT_SIDE = 299


@dataclass(frozen=True)
class Conv:
    """A convolution with batch norm and ReLU; stride 1 keeps the size, stride 2 has no padding."""

    name: str
    width: int
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1


@dataclass(frozen=True)
class Fork:
    """Two convolutions of the same input, concatenated."""

    one: Conv
    other: Conv


@dataclass(frozen=True)
class Pool:
    """A 3x3 pool: "average" (without the padding) and "maximum" keep the size; "reduce" is a maximum with
    stride 2 and no padding."""

    kind: str


Step: TypeAlias = Conv | Fork | Pool
Branch: TypeAlias = tuple[Step, ...]


class ConvolutionNorm(nn.Module):
    """Convolution without bias, batch norm with epsilon 1e-3, ReLU."""

    def __init__(
        self, channels: int, width: int, kernel: tuple[int, int], stride: int, padding: tuple[int, int]
    ) -> None:
        super().__init__()
        self.conv = FusedConv2d(channels, width, kernel, stride=stride, padding=padding, bias=False)
        self.bn: nn.Module = nn.BatchNorm2d(width, eps=1e-3)

    def forward(self, maps: Maps) -> Maps:
        if self.conv.activation == "relu":  # folded
            result: Tensor = self.conv(maps)
            return result
        return functional.relu(self.bn(self.conv(maps)), inplace=True)

    def fold(self) -> None:
        """Folds the norm's running statistics into the convolution, in float64; for inference only."""
        norm = self.bn
        if not isinstance(norm, nn.BatchNorm2d):
            return
        mean, variance = norm.running_mean, norm.running_var
        assert mean is not None
        assert variance is not None
        scale = norm.weight.detach().double() / (variance.double() + norm.eps).sqrt()
        weight = self.conv.weight.detach().double() * scale[:, None, None, None]
        bias = norm.bias.detach().double() - mean.double() * scale
        dtype = self.conv.weight.dtype
        self.conv.weight = nn.Parameter(weight.to(dtype), requires_grad=False)
        self.conv.bias = nn.Parameter(bias.to(dtype), requires_grad=False)
        self.conv.activation = "relu"
        self.bn = nn.Identity()


class Mixed(nn.Module):
    """Parallel branches, concatenated over channels; `width` is the number of output channels."""

    def __init__(self, channels: int, *branches: Branch) -> None:
        super().__init__()
        self.branches = branches
        self.width = 0
        for branch in branches:
            current = channels
            for step in branch:
                if isinstance(step, Fork):
                    self._add(current, step.one)
                    self._add(current, step.other)
                    current = step.one.width + step.other.width
                elif isinstance(step, Conv):
                    self._add(current, step)
                    current = step.width
            self.width += current

    def _add(self, channels: int, step: Conv) -> None:
        rows, columns = step.kernel
        padding = (rows // 2, columns // 2) if step.stride == 1 else (0, 0)
        self.add_module(step.name, ConvolutionNorm(channels, step.width, step.kernel, step.stride, padding))

    def _take(self, step: Step, maps: Maps) -> Maps:
        if isinstance(step, Conv):
            result: Tensor = self.get_submodule(step.name)(maps)
            return result
        if isinstance(step, Fork):
            return torch.cat([self._take(step.one, maps), self._take(step.other, maps)], 1)
        if step.kind == "average":
            return functional.avg_pool2d(maps, 3, stride=1, padding=1, count_include_pad=False)
        if step.kind == "maximum":
            return functional.max_pool2d(maps, 3, stride=1, padding=1)
        return functional.max_pool2d(maps, 3, stride=2)

    def forward(self, maps: Maps) -> Maps:
        results = []
        for branch in self.branches:
            current = maps
            for step in branch:
                current = self._take(step, current)
            results.append(current)
        return torch.cat(results, 1)


def _mixed_35(channels: int, pool_width: int) -> Mixed:
    return Mixed(
        channels,
        (Conv("branch1x1", 64),),
        (Conv("branch5x5_1", 48), Conv("branch5x5_2", 64, (5, 5))),
        (Conv("branch3x3dbl_1", 64), Conv("branch3x3dbl_2", 96, (3, 3)), Conv("branch3x3dbl_3", 96, (3, 3))),
        (Pool("average"), Conv("branch_pool", pool_width)),
    )


def _reduce_to_17(channels: int) -> Mixed:
    return Mixed(
        channels,
        (Conv("branch3x3", 384, (3, 3), 2),),
        (
            Conv("branch3x3dbl_1", 64),
            Conv("branch3x3dbl_2", 96, (3, 3)),
            Conv("branch3x3dbl_3", 96, (3, 3), 2),
        ),
        (Pool("reduce"),),
    )


def _mixed_17(inner: int) -> Mixed:
    return Mixed(
        768,
        (Conv("branch1x1", 192),),
        (Conv("branch7x7_1", inner), Conv("branch7x7_2", inner, (1, 7)), Conv("branch7x7_3", 192, (7, 1))),
        (
            Conv("branch7x7dbl_1", inner),
            Conv("branch7x7dbl_2", inner, (7, 1)),
            Conv("branch7x7dbl_3", inner, (1, 7)),
            Conv("branch7x7dbl_4", inner, (7, 1)),
            Conv("branch7x7dbl_5", 192, (1, 7)),
        ),
        (Pool("average"), Conv("branch_pool", 192)),
    )


def _reduce_to_8(channels: int) -> Mixed:
    return Mixed(
        channels,
        (Conv("branch3x3_1", 192), Conv("branch3x3_2", 320, (3, 3), 2)),
        (
            Conv("branch7x7x3_1", 192),
            Conv("branch7x7x3_2", 192, (1, 7)),
            Conv("branch7x7x3_3", 192, (7, 1)),
            Conv("branch7x7x3_4", 192, (3, 3), 2),
        ),
        (Pool("reduce"),),
    )


def _mixed_8(channels: int, pool: str) -> Mixed:
    return Mixed(
        channels,
        (Conv("branch1x1", 320),),
        (
            Conv("branch3x3_1", 384),
            Fork(Conv("branch3x3_2a", 384, (1, 3)), Conv("branch3x3_2b", 384, (3, 1))),
        ),
        (
            Conv("branch3x3dbl_1", 448),
            Conv("branch3x3dbl_2", 384, (3, 3)),
            Fork(Conv("branch3x3dbl_3a", 384, (1, 3)), Conv("branch3x3dbl_3b", 384, (3, 1))),
        ),
        (Pool(pool), Conv("branch_pool", 192)),
    )


class InceptionGraph(nn.Module):
    """The network from scaled 299x299 images to pool features and logits, with or without the last bias."""

    def __init__(self, biased_logits: bool = False) -> None:
        super().__init__()
        self.biased_logits = biased_logits
        self.Conv2d_1a_3x3 = ConvolutionNorm(3, 32, (3, 3), 2, (0, 0))  # 299 -> 149
        self.Conv2d_2a_3x3 = ConvolutionNorm(32, 32, (3, 3), 1, (0, 0))  # 147
        self.Conv2d_2b_3x3 = ConvolutionNorm(32, 64, (3, 3), 1, (1, 1))
        self.Conv2d_3b_1x1 = ConvolutionNorm(64, 80, (1, 1), 1, (0, 0))  # 73
        self.Conv2d_4a_3x3 = ConvolutionNorm(80, 192, (3, 3), 1, (0, 0))  # 71
        self.Mixed_5b = _mixed_35(192, pool_width=32)  # 35
        self.Mixed_5c = _mixed_35(256, pool_width=64)
        self.Mixed_5d = _mixed_35(288, pool_width=64)
        self.Mixed_6a = _reduce_to_17(288)  # 17
        self.Mixed_6b = _mixed_17(inner=128)
        self.Mixed_6c = _mixed_17(inner=160)
        self.Mixed_6d = _mixed_17(inner=160)
        self.Mixed_6e = _mixed_17(inner=192)
        self.Mixed_7a = _reduce_to_8(768)  # 8
        self.Mixed_7b = _mixed_8(1280, pool="average")
        self.Mixed_7c = _mixed_8(2048, pool="maximum")
        self.fc = nn.Linear(2048, CLASSES)

    def taps(self, images: Maps) -> dict[str, Float[Tensor, "batch features"]]:
        """All outputs for scaled (batch, 3, 299, 299): "64", "192", "768", "2048", and the logits without
        ("logits_unbiased", for the Inception Score) and with the last bias ("logits")."""
        maps = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(images)))
        maps = functional.max_pool2d(maps, 3, stride=2)
        taps = {"64": maps.mean((2, 3))}
        maps = functional.max_pool2d(self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(maps)), 3, stride=2)
        taps["192"] = maps.mean((2, 3))
        maps = self.Mixed_6a(self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(maps))))
        maps = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(maps))))
        taps["768"] = maps.mean((2, 3))
        maps = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(maps)))
        taps["2048"] = maps.mean((2, 3))
        taps["logits_unbiased"] = taps["2048"] @ self.fc.weight.T
        taps["logits"] = taps["logits_unbiased"] + self.fc.bias
        return taps

    def forward(self, images: Maps) -> tuple[Float[Tensor, "batch features"], Float[Tensor, "batch classes"]]:
        """Pool features (batch, 2048) and logits (batch, 1008)."""
        taps = self.taps(images)
        return taps["2048"], taps["logits" if self.biased_logits else "logits_unbiased"]

    def fold(self) -> None:
        for module in self.modules():
            if isinstance(module, ConvolutionNorm):
                module.fold()
