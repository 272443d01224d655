"""Initial weights come from the distribution that they should."""

import pytest
import torch
from torch import nn

from kennel.networks import DISCRIMINATORS, GENERATORS, Setting
from kennel.techniques import TECHNIQUES, Players


def test_normal_init_draws_weights_around_zero_and_gains_around_one():
    setting = Setting(32, 3, 64)
    players = Players(
        GENERATORS["dcgan"](setting, GENERATORS["dcgan"].Options()),
        DISCRIMINATORS["dcgan"](setting, DISCRIMINATORS["dcgan"].Options()),
    )
    TECHNIQUES["normal_init"]().build(players, torch.Generator().manual_seed(0))
    for network in players.both():
        layers = list(network.modules())
        weights = torch.cat(
            [
                layer.weight.detach().flatten()
                for layer in layers
                if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear)
            ]
        )
        gains = torch.cat([layer.weight.detach() for layer in layers if isinstance(layer, nn.BatchNorm2d)])
        assert weights.std() == pytest.approx(0.02, rel=0.01)
        assert weights.mean() == pytest.approx(0, abs=1e-4)
        assert gains.mean() == pytest.approx(1, abs=0.01)
        assert gains.std() == pytest.approx(0.02, rel=0.2)
        biases = [layer.bias for layer in layers if getattr(layer, "bias", None) is not None]
        assert biases
        assert all(torch.all(bias == 0) for bias in biases)
