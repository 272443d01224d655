"""The critic's weights stay in their box, from the start on."""

import pytest
import torch

from kennel.networks import DISCRIMINATORS, GENERATORS, NetworkSpec
from kennel.techniques import TECHNIQUES, Networks


@pytest.fixture
def networks() -> Networks:
    torch.manual_seed(0)
    setting = NetworkSpec(8, 1, 4)
    return Networks(
        GENERATORS["dcgan"](setting, GENERATORS["dcgan"].Options(base_channels=4)),
        DISCRIMINATORS["dcgan"](setting, DISCRIMINATORS["dcgan"].Options(base_channels=4)),
    )


def test_every_parameter_of_the_discriminator_alone_is_clamped_at_the_start_and_after_its_turns(
    networks, make_play
):
    technique = TECHNIQUES["weight_clipping"](limit=0.02)
    expected = [parameter.detach().clamp(-0.02, 0.02) for parameter in networks.discriminator.parameters()]
    generator = [parameter.detach().clone() for parameter in networks.generator.parameters()]
    technique.modify_networks(networks, torch.Generator())
    for parameter, value in zip(networks.discriminator.parameters(), expected, strict=True):
        assert torch.equal(parameter, value)
    with torch.no_grad():
        for parameter in networks.discriminator.parameters():
            parameter.add_(0.015)
    technique.after_discriminator(make_play(networks, fake=torch.zeros(2, 1, 8, 8)))
    for parameter, value in zip(networks.discriminator.parameters(), expected, strict=True):
        assert torch.equal(parameter, (value + 0.015).clamp(-0.02, 0.02))
    for parameter, value in zip(networks.generator.parameters(), generator, strict=True):
        assert torch.equal(parameter, value)


def test_the_share_on_the_limit_is_logged(networks):
    technique = TECHNIQUES["weight_clipping"](limit=0.01)
    with torch.no_grad():
        for parameter in networks.discriminator.parameters():
            parameter.fill_(0.001)
        networks.discriminator.head.weight.fill_(-1.0)
    technique.modify_networks(networks, torch.Generator())
    total = sum(parameter.numel() for parameter in networks.discriminator.parameters())
    expected = networks.discriminator.head.weight.numel() / total
    assert technique.statistics()["at_limit"].item() == pytest.approx(expected)


def test_beside_spectral_norm_the_weights_before_the_division_are_clamped_and_the_slope_is_not_bounded(
    networks,
):
    TECHNIQUES["spectral_norm"]().modify_networks(networks, torch.Generator().manual_seed(0))
    TECHNIQUES["weight_clipping"](limit=1e-4).modify_networks(networks, torch.Generator())
    layer = networks.discriminator.eval().first
    assert layer.parametrizations.weight.original.abs().max() <= 1e-4
    assert torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2).item() == pytest.approx(1.0, rel=0.1)
