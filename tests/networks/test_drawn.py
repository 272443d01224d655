"""A layer drawn from a generator begins as any other of its kind."""

import torch
from torch import nn

from kennel.networks.drawn import drawn_linear


def test_a_drawn_layer_comes_from_its_generator_alone():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    one, other = (drawn_linear(64, 100, torch.Generator().manual_seed(0)) for _ in range(2))
    assert torch.equal(torch.rand(1), expected)
    assert torch.equal(one.weight, other.weight)
    assert torch.equal(one.bias, other.bias)


def test_a_drawn_layer_has_the_spread_of_any_linear_layer():
    torch.manual_seed(0)
    drawn, usual = drawn_linear(64, 400, torch.Generator().manual_seed(0)), nn.Linear(64, 400)
    assert drawn.weight.abs().max() <= 1 / 8
    assert abs(drawn.weight.std() / usual.weight.std() - 1) < 0.02
    assert abs(drawn.bias.std() / usual.bias.std() - 1) < 0.1
