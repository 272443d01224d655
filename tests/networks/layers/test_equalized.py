"""Every layer learns at the same rate, and begins with outputs as large as its inputs."""

import pytest
import torch
from torch.nn.functional import conv2d, leaky_relu

from kennel.networks.layers.equalized import GAIN, EqualizedConvolution, EqualizedLinear


def test_a_layer_is_its_formula():
    layer = EqualizedLinear(6, 4, bias=0.5, gain=3.0, multiplier=0.01).double()
    vectors = torch.randn(5, 6, dtype=torch.float64)
    weight = layer.weight * 0.01 / 6**0.5
    expected = 3 * (vectors @ weight.T + layer.bias * 0.01)
    assert torch.allclose(layer(vectors), expected, rtol=1e-12, atol=0)
    assert torch.allclose(layer.bias * 0.01, torch.tensor(0.5, dtype=torch.float64))
    convolution = EqualizedConvolution(3, 5, 3, padding=1, gain=2.0).double()
    maps = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    torch.nn.init.normal_(convolution.bias)
    expected = 2 * conv2d(maps, convolution.weight / 27**0.5, convolution.bias, padding=1)
    assert torch.allclose(convolution(maps), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("multiplier", [1.0, 0.01])
def test_a_layer_with_its_activation_keeps_the_mean_square(multiplier):
    torch.manual_seed(0)
    layer = EqualizedLinear(512, 512, gain=GAIN, multiplier=multiplier)
    made = leaky_relu(layer(torch.randn(200, 512)), 0.2)
    # A leaky ReLU of slope 0.2 leaves (1 + 0.04) / 2 of it, of which the gain makes 1.04.
    assert made.square().mean().item() == pytest.approx(1.04, rel=0.03)


@pytest.mark.parametrize("inputs", [4, 400])
def test_a_step_of_adam_moves_wide_and_narrow_layers_by_the_same_share_of_their_weights(inputs):
    torch.manual_seed(0)
    layer = EqualizedLinear(inputs, 500, multiplier=0.01)
    before = layer.weight.detach().clone()
    adam = torch.optim.Adam([layer.weight], lr=0.1, betas=(0.0, 0.99), eps=1e-12)
    layer(torch.randn(8, inputs)).square().sum().backward()
    adam.step()
    moved = (layer.weight.detach() - before).abs().mean() / before.std()
    assert moved.item() == pytest.approx(0.1 * 0.01, rel=0.05)


def test_it_is_computed_in_float32_under_lower_precision():
    layer, vectors = EqualizedLinear(6, 4), torch.randn(5, 6)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(layer(vectors), layer(vectors.double().float()))
        assert layer(vectors.bfloat16()).dtype == torch.float32


def test_a_layer_alike_gives_what_the_weights_say():
    layer = EqualizedLinear(6, 4, gain=2.0, multiplier=0.01)
    plain = torch.nn.Linear(6, 4)
    vectors = torch.randn(5, 6)
    made = layer.like(plain)
    assert torch.allclose(made(vectors), plain(vectors), atol=1e-6)
    assert (made.scale, made.shift) == (layer.scale, layer.shift)
