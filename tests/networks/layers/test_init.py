"""A layer drawn from a generator begins as any other of its kind."""

import pytest
import torch
from torch import nn

from kennel.networks.layers.equalized import EqualizedLinear
from kennel.networks.layers.init import init_linear, widened


def test_a_drawn_layer_comes_from_its_generator_alone():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    one, other = (init_linear(64, 100, torch.Generator().manual_seed(0)) for _ in range(2))
    assert torch.equal(torch.rand(1), expected)
    assert torch.equal(one.weight, other.weight)
    assert torch.equal(one.bias, other.bias)


def test_a_drawn_layer_has_the_spread_of_any_linear_layer():
    torch.manual_seed(0)
    drawn, usual = init_linear(64, 400, torch.Generator().manual_seed(0)), nn.Linear(64, 400)
    assert drawn.weight.abs().max() <= 1 / 8
    assert abs(drawn.weight.std() / usual.weight.std() - 1) < 0.02
    assert abs(drawn.bias.std() / usual.bias.std() - 1) < 0.1


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("equalized", [True, False])
def test_a_widened_layer_gives_the_same_for_inputs_of_0_behind_its_own(bias, equalized):
    layer = EqualizedLinear(6, 4, bias=0.5 if bias else None) if equalized else nn.Linear(6, 4, bias)
    wider = widened(layer, 2, torch.Generator().manual_seed(0))
    assert type(wider) is type(layer)
    assert (wider.bias is not None) == bias
    vectors = torch.randn(5, 6)
    beside = torch.cat([vectors, torch.zeros(5, 2)], 1)
    assert torch.allclose(wider(beside), layer(vectors), atol=1e-6)
    further = wider(torch.cat([torch.zeros(5, 6), torch.ones(5, 2)], 1)) - wider(torch.zeros(5, 8))
    assert 0 < further.abs().max() <= 2 / 8**0.5  # drawn as `nn.Linear` draws
