"""What every registered network must do; a new one is tested the day it is registered."""

import copy

import pytest
import torch

from kennel.errors import RecipeError
from kennel.networks import DISCRIMINATORS, GENERATORS, Setting
from kennel.networks.activations import _MAKERS, activation

LATENT = 6
SMALL = {
    "mlp": {"hidden": (16, 16)},
    "dcgan": {"width": 2, "widest": 4},
    "improved": {"width": 4},
    "modern": {"width": 8, "narrowest": 4, "group": 4, "blocks": 1},
}


def sizes(network) -> tuple[int, ...]:
    return network.sizes or (8, 28, 50)


def cases(registry):
    return [
        pytest.param(name, size, channels, id=f"{name}-{size}-{channels}")
        for name in registry
        for size in sizes(registry[name])
        for channels in (1, 3)
    ]


def build(registry, name, size, channels=3):
    network = registry[name]
    torch.manual_seed(0)
    return network(Setting(size, channels, LATENT), network.Options(**SMALL.get(name, {})))


@pytest.mark.parametrize(("name", "size", "channels"), cases(GENERATORS))
def test_a_generator_draws_images_of_its_size_between_minus_one_and_one(name, size, channels):
    images = build(GENERATORS, name, size, channels)(torch.randn(4, LATENT))
    assert images.shape == (4, channels, size, size)
    assert images.dtype == torch.float32
    assert images.abs().max() <= 1


@pytest.mark.parametrize(("name", "size", "channels"), cases(DISCRIMINATORS))
def test_a_discriminator_gives_one_raw_logit_an_image(name, size, channels):
    discriminator = build(DISCRIMINATORS, name, size, channels)
    images = torch.randn(4, channels, size, size)
    logits = discriminator(images)
    assert logits.shape == (4,)
    assert logits.dtype == torch.float32
    assert discriminator.hidden(images).ndim == 2
    assert not isinstance(discriminator.head, torch.nn.Sigmoid)


@pytest.mark.parametrize("registry", [GENERATORS, DISCRIMINATORS], ids=["generators", "discriminators"])
def test_gradients_reach_every_parameter(registry):
    for name in registry:
        network = build(registry, name, sizes(registry[name])[0])
        size = network.setting.size
        entry = torch.randn(4, LATENT) if registry is GENERATORS else torch.randn(4, 3, size, size)
        network(entry).square().sum().backward()
        missing = [key for key, value in network.named_parameters() if value.grad is None]
        assert missing == []


@pytest.mark.parametrize("registry", [GENERATORS, DISCRIMINATORS], ids=["generators", "discriminators"])
def test_a_state_dict_brings_a_network_back_bit_for_bit(registry):
    for name in registry:
        network = build(registry, name, sizes(registry[name])[0]).eval()
        other = copy.deepcopy(network)
        for value in other.parameters():
            value.data.zero_()
        other.load_state_dict(network.state_dict())
        size = network.setting.size
        entry = torch.randn(4, LATENT) if registry is GENERATORS else torch.randn(4, 3, size, size)
        assert torch.equal(network(entry), other(entry))


@pytest.mark.parametrize("name", [name for name in GENERATORS if name in DISCRIMINATORS])
def test_the_layout_of_memory_and_lower_precision_change_no_shape(name):
    size = sizes(GENERATORS[name])[0]
    generator = build(GENERATORS, name, size).to(memory_format=torch.channels_last)
    discriminator = build(DISCRIMINATORS, name, size).to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        images = generator(torch.randn(4, LATENT))
        logits = discriminator(images)
    assert images.dtype == logits.dtype == torch.float32
    logits.sum().backward()
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize("registry", [GENERATORS, DISCRIMINATORS], ids=["generators", "discriminators"])
def test_an_unsupported_size_is_refused_with_those_that_are(registry):
    for name in registry:
        if registry[name].sizes:
            supported = ", ".join(map(str, registry[name].sizes))
            with pytest.raises(RecipeError, match=f"cannot draw 50x50 images: it supports {supported};"):
                build(registry, name, 50)


def test_a_dcgan_pair_is_symmetric():
    generator, discriminator = build(GENERATORS, "dcgan", 64), build(DISCRIMINATORS, "dcgan", 64)
    up = [tuple(m.weight.shape) for m in generator.modules() if isinstance(m, torch.nn.ConvTranspose2d)]
    down = [tuple(m.weight.shape) for m in discriminator.modules() if isinstance(m, torch.nn.Conv2d)]
    assert up == down[::-1]


def test_a_full_width_dcgan_has_the_tutorials_parameters():
    # The DCGAN tutorial's networks at 64x64 with 3 channels, latent 100, width 64: 3,576,704 and 2,765,568
    # parameters. Ours have biases besides: one a colour channel in the generator's last layer, and in the
    # discriminator's first (64) and last (1).
    setting = Setting(64, 3, 100)
    generator = GENERATORS["dcgan"](setting, GENERATORS["dcgan"].Options())
    discriminator = DISCRIMINATORS["dcgan"](setting, DISCRIMINATORS["dcgan"].Options())
    assert sum(p.numel() for p in generator.parameters()) == 3_576_704 + 3
    assert sum(p.numel() for p in discriminator.parameters()) == 2_765_568 + 64 + 1


@pytest.mark.parametrize("name", list(_MAKERS))
def test_every_activation_can_be_asked_for_by_name(name):
    assert torch.isfinite(activation(name)(torch.linspace(-3, 3, 7))).all()
