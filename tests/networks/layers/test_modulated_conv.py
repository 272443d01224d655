"""Modulated convolutions are those with weights of each image's own; resampling is that of its definition."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import conv2d

from kennel.networks.layers.equalized import GAIN
from kennel.networks.layers.modulated_conv import (
    Blur,
    Halving,
    ModulatedConvolution,
    ModulatedDoubling,
    demodulation,
)


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def of_each_image(weight: Tensor, styles: Tensor, demodulates: bool = True) -> Tensor:
    """Equations 1 and 3: weights (batch, outputs, inputs, kernel, kernel)."""
    own = styles[:, None, :, None, None] * weight
    if demodulates:
        own = own / (own.square().sum((2, 3, 4), keepdim=True) + 1e-8).sqrt()
    return own


@pytest.mark.parametrize(("kernel", "demodulates"), [(3, True), (1, False), (3, False)])
def test_a_modulated_convolution_is_one_with_weights_of_each_images_own(kernel, demodulates):
    torch.manual_seed(0)
    layer = ModulatedConvolution(5, 7, kernel, demodulates=demodulates).double()
    maps, styles, shift = normal(3, 5, 6, 6), normal(3, 5), normal(7)
    scale = 1 if demodulates else (5 * kernel**2) ** -0.5
    weights = of_each_image(layer.weight * scale, styles, demodulates)
    gain = GAIN if demodulates else 1
    expected = [
        gain * conv2d(one[None], weight, padding=kernel // 2) + shift[:, None, None]
        for one, weight in zip(maps, weights, strict=True)
    ]
    assert torch.allclose(layer(maps, styles, shift), torch.cat(expected), rtol=1e-12, atol=1e-12)


def test_a_modulated_doubling_is_upfirdn_and_a_convolution_with_weights_of_each_images_own(by_definition):
    torch.manual_seed(0)
    layer = ModulatedDoubling(5, 7).double()
    maps, styles, shift = normal(3, 5, 6, 6), normal(3, 5), normal(7)
    correlated = layer.weight.transpose(0, 1).flip(2, 3)  # a transposed convolution mirrors
    weights = of_each_image(correlated, styles)
    expected = [
        GAIN * by_definition.doubled(one[None], weight) + shift[:, None, None]
        for one, weight in zip(maps, weights, strict=True)
    ]
    assert torch.allclose(layer(maps, styles, shift), torch.cat(expected), rtol=1e-12, atol=1e-12)


def test_gradients_by_maps_styles_and_weights_are_those_of_weights_of_each_images_own():
    torch.manual_seed(0)
    layer = ModulatedConvolution(3, 4, 3).double()
    maps, styles, outer = (
        normal(2, 3, 4, 4).requires_grad_(),
        normal(2, 3).requires_grad_(),
        normal(2, 4, 4, 4),
    )
    weights = of_each_image(layer.weight, styles)
    by_hand = torch.cat([GAIN * conv2d(m[None], w, padding=1) for m, w in zip(maps, weights, strict=True)])
    both = []
    for made in (layer(maps, styles, torch.zeros(4, dtype=torch.float64)), by_hand):
        first = torch.autograd.grad((made * outer).sum(), [maps, styles, layer.weight], create_graph=True)
        second = torch.autograd.grad(sum(one.square().sum() for one in first), [maps, styles, layer.weight])
        both.append([*first, *second])
    for ours, expected in zip(*both, strict=True):
        assert torch.allclose(ours, expected, rtol=1e-9, atol=1e-11)


def test_demodulated_outputs_of_white_maps_have_unit_variance_whatever_the_style():
    torch.manual_seed(0)
    styles = 10 * torch.randn(4, 64)
    for layer in (ModulatedConvolution(64, 32, 3), ModulatedDoubling(64, 32)):
        made = layer(torch.randn(4, 64, 32, 32), styles, torch.zeros(32))[:, :, 2:-2, 2:-2]
        if isinstance(layer, ModulatedConvolution):
            assert made.var((2, 3)).mean().item() == pytest.approx(GAIN**2, rel=0.02)
        assert made.var((0, 2, 3)).std() < 0.2 * made.var()


def test_a_style_of_zeros_gives_no_infinite_factor():
    factors = demodulation(torch.zeros(2, 3), torch.ones(3, 4))
    assert torch.allclose(factors, torch.tensor(1e4))


def test_halving_is_upfirdn_and_its_mirror(by_definition):
    maps = normal(2, 3, 8, 8)
    layer = Halving().double()
    assert torch.allclose(layer(maps), by_definition.upfirdn(maps, 1, 1, down=2), rtol=1e-12, atol=1e-12)
    assert torch.allclose(layer(maps.flip(3)), layer(maps).flip(3), rtol=1e-12, atol=1e-12)


def test_a_blurred_convolution_of_step_2_is_that_of_upfirdn(by_definition):
    maps, weight = normal(2, 3, 8, 8), normal(5, 3, 3, 3)
    blurred = conv2d(Blur((1.0, 3.0, 3.0, 1.0), 2).double()(maps), weight, stride=2)
    assert torch.allclose(blurred, by_definition.halved(maps, weight), rtol=1e-12, atol=1e-12)
