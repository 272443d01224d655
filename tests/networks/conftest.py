"""Resampling by definition: zeros between the pixels, a padding, a filter, every n-th pixel."""

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

LINE = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=torch.float64) / 8


def upfirdn(maps: Tensor, before: int, after: int, up: int = 1, down: int = 1) -> Tensor:
    """`before` and `after` are zeros at the near and at the far border; the filter is [1, 3, 3, 1] / 8 twice.

    Karras et al. 2018 (StyleGAN) and the released code: its gain is the square of `up`.
    """
    count, channels, height, width = maps.shape
    between = maps.new_zeros(count, channels, height, up, width, up)
    between[:, :, :, 0, :, 0] = maps
    wide = pad(between.reshape(count, channels, height * up, width * up), (before, after, before, after))
    kernel = torch.outer(LINE, LINE).to(maps.dtype) * up**2
    single = conv2d(wide.flatten(0, 1)[:, None], kernel.flip(0, 1)[None, None])
    return single.unflatten(0, (count, channels)).squeeze(2)[:, :, ::down, ::down]


def doubled(maps: Tensor, weight: Tensor) -> Tensor:
    """Twice the side, then a convolution (outputs, inputs, 3, 3)."""
    return conv2d(upfirdn(maps, 3, 2, up=2), weight)


def halved(maps: Tensor, weight: Tensor) -> Tensor:
    """The filter, then a convolution (outputs, inputs, kernel, kernel) of step 2."""
    beside = weight.shape[2] // 2
    return conv2d(upfirdn(maps, beside + 1, beside + 1), weight, stride=2)


@pytest.fixture
def by_definition() -> SimpleNamespace:
    """`upfirdn(maps, before, after, up=1, down=1)`, `doubled(maps, weight)` and `halved(maps, weight)`."""
    return SimpleNamespace(upfirdn=upfirdn, doubled=doubled, halved=halved)
