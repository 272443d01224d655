"""Initial weights come from the distribution that they should."""

import math

import pytest
import torch
from torch import nn

from kennel.config.recipe import override
from kennel.engine.builder import build_step
from kennel.networks import DISCRIMINATORS, GENERATORS, NetworkSpec
from kennel.networks.class_bias import ClassBias
from kennel.networks.residual import Residual
from kennel.recipes import get_recipe
from kennel.techniques import TECHNIQUES, Networks
from kennel.techniques.weight_init import xavier_bound


def test_normal_init_draws_weights_around_zero_and_gains_around_one():
    setting = NetworkSpec(32, 3, 64)
    networks = Networks(
        GENERATORS["dcgan"](setting, GENERATORS["dcgan"].Options()),
        DISCRIMINATORS["dcgan"](setting, DISCRIMINATORS["dcgan"].Options()),
    )
    TECHNIQUES["normal_init"]().modify_networks(networks, torch.Generator().manual_seed(0))
    for network in networks.both():
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


@pytest.mark.parametrize("name", ["acgan", "cgan.dogs"])
def test_the_column_of_a_class_is_drawn_as_the_rest_of_its_layer(name):
    fixed = ["image.size=32", "image.channels=3", "num_classes=120"]
    networks = build_step(override(get_recipe(name), fixed), torch.device("cpu")).networks
    columns = [one for network in networks.both() for one in network.modules() if isinstance(one, ClassBias)]
    assert columns
    for column in columns:
        assert column.weight.std().item() == pytest.approx(0.02, rel=0.05)


def deviation(layer, gain):
    """Glorot and Bengio's, of a layer without groups, by its sizes."""
    kernel = math.prod(getattr(layer, "kernel_size", (1,)))
    sides = [
        getattr(layer, name)
        for name in ("in_channels", "out_channels", "in_features", "out_features", "num_embeddings")
        if hasattr(layer, name)
    ]
    sides += [layer.embedding_dim] if isinstance(layer, nn.Embedding) else []
    return gain * math.sqrt(2 / (sum(sides) * kernel))


def original(layer):
    """The weight behind a reparametrization, or the weight."""
    return layer.parametrizations.weight.original if hasattr(layer, "parametrizations") else layer.weight


@pytest.mark.parametrize(("name", "residual"), [("sngan", math.sqrt(2)), ("sagan", 1.0)])
@pytest.mark.parametrize("classes", [0, 50])
def test_every_layer_of_a_recipe_has_the_standard_deviation_of_its_papers_code(name, residual, classes):
    fixed = ["image.size=32", "image.channels=3", f"num_classes={classes}"]
    fixed += ["generator.base_channels=16", "discriminator.base_channels=32"]
    networks = build_step(override(get_recipe(name), fixed), torch.device("cpu")).networks
    seen = set()
    for network in networks.both():
        for path, layer in network.named_modules():
            if not isinstance(layer, nn.Linear | nn.Conv2d | nn.Embedding):
                continue
            weight = original(layer)
            if "of_class" in path:  # batch norm's tables: gains 1 (kept as their distance to it), biases 0
                assert not weight.any(), path
                continue
            in_branch = path.endswith((".first", ".second"))
            seen.add(path.rsplit(".", 1)[-1])
            expected = deviation(layer, residual if in_branch else 1.0)
            tolerance = 4 * math.sqrt(0.8 / (4 * weight.numel()))  # four standard errors; kurtosis 1.8
            assert weight.std().item() == pytest.approx(expected, rel=tolerance), path
            assert weight.abs().max() <= expected * math.sqrt(3)
            assert getattr(layer, "bias", None) is None or not layer.bias.any()
    assert seen >= {"first", "second", "shortcut", "stem", "head"}


def test_the_trunk_is_two_and_a_half_times_what_torch_draws():
    setting = NetworkSpec(32, 3, 64)
    discriminator = DISCRIMINATORS["sngan"](setting, DISCRIMINATORS["sngan"].Options())
    trunk = discriminator.layers[2].first
    before = trunk.weight.std().item()
    generator = GENERATORS["mlp"](setting, GENERATORS["mlp"].Options())
    networks = Networks(generator, discriminator)
    TECHNIQUES["xavier_init"]().modify_networks(networks, torch.Generator().manual_seed(0))
    assert trunk.weight.std().item() / before == pytest.approx(math.sqrt(6), rel=0.02)


@pytest.mark.parametrize(
    ("layer", "fans"),
    [
        (nn.Linear(3, 5), 8),
        (nn.Conv2d(4, 6, 3), 90),
        (nn.Conv2d(8, 8, 3, groups=4), (2 + 2) * 9),
        (nn.ConvTranspose2d(4, 6, 4), 160),
        (nn.ConvTranspose2d(8, 12, 2, groups=4), (2 + 3) * 4),
        (nn.Embedding(10, 7), 17),
    ],
)
def test_the_bound_counts_both_fans(layer, fans):
    assert xavier_bound(layer) == pytest.approx(math.sqrt(6 / fans))


@pytest.mark.parametrize("name", ["sngan", "sagan", "biggan", "biggan_deep", "modern"])
def test_every_residual_network_tells_the_convolutions_of_its_branches(name):
    for registry in (GENERATORS, DISCRIMINATORS):
        options = {"depth": 1} if "depth" in registry[name].Options.model_fields else {}
        network = registry[name](NetworkSpec(32, 3, 120), registry[name].Options(base_channels=16, **options))
        blocks = [one for one in network.modules() if isinstance(one, Residual)]
        assert blocks
        for block in blocks:
            branch = block.branch()
            convolutions = {one for one in block.modules() if isinstance(one, nn.Conv2d)}
            apart = {getattr(block, other, None) for other in ("shortcut", "appended")}
            assert len(branch) == len(set(branch))
            assert set(branch) == convolutions - apart
