"""The residual blocks compute what their pages say, in an order that costs less; and the projection."""

import pytest
import torch
from torch import nn
from torch.nn.functional import avg_pool2d, conv2d, interpolate
from torch.testing import assert_close

from kennel.networks import DISCRIMINATORS, GENERATORS, NetworkSpec
from kennel.networks.layers.activations import _MAKERS, activation
from kennel.networks.layers.normalization import Condition, Conditioning
from kennel.networks.residual import DiscriminatorBlock, GeneratorBlock, out_of_place_activation

names = pytest.mark.parametrize("name", list(_MAKERS))


def drawn(block):
    for parameter in block.parameters():
        nn.init.normal_(parameter, 0, 0.5)
    return block.double()


def convolved(layer, images):
    return conv2d(images, layer.weight, layer.bias, padding=layer.weight.shape[-1] // 2)


def safe(name):
    """The activation applied to a copy."""
    return lambda images: activation(name)(images.clone())


def three_orders(function, images, parameters):
    """Its value, its gradients and the gradients of their square."""
    value = function(images)
    first = torch.autograd.grad(value.square().sum(), [images, *parameters], create_graph=True)
    second = torch.autograd.grad(first[0].square().sum(), [images, *parameters])
    return [value, *first, *second]


@names
def test_a_generators_block_is_the_published_one(name):
    torch.manual_seed(0)
    block = drawn(GeneratorBlock(3, 2, Conditioning(classes=2), name)).eval()
    images, labels = torch.randn(2, 3, 4, 4, dtype=torch.float64), torch.tensor([1, 0])

    def published(images):
        act, told = safe(name), Condition(labels)
        hidden = act(block.first_norm(images, told))
        hidden = convolved(block.first, interpolate(hidden, scale_factor=2))
        hidden = convolved(block.second, act(block.second_norm(hidden, told)))
        return hidden + convolved(block.shortcut, interpolate(images, scale_factor=2))

    before = images.clone()
    found = block(images, Condition(labels))
    assert found.shape == (2, 2, 8, 8)
    assert_close(found, published(images))
    assert torch.equal(images, before)


@names
@pytest.mark.parametrize(("halves", "first"), [(True, True), (True, False), (False, False)])
def test_a_discriminators_block_is_the_published_one_to_the_second_derivative(name, halves, first):
    torch.manual_seed(0)
    block = drawn(DiscriminatorBlock(3, 4, 5, name, halves, first))
    images = torch.randn(2, 3, 4, 4, dtype=torch.float64, requires_grad=True)

    def published(images):
        act = safe(name)
        hidden = convolved(block.first, images if first else act(images))
        hidden = convolved(block.second, act(hidden))
        shortcut = convolved(block.shortcut, images)
        return avg_pool2d(hidden, 2) + avg_pool2d(shortcut, 2) if halves else hidden + shortcut

    parameters = [block.first.weight, block.second.weight]
    for found, expected in zip(
        three_orders(block, images, parameters), three_orders(published, images, parameters), strict=True
    ):
        assert_close(found, expected)


def test_a_block_that_changes_neither_side_nor_width_has_a_bare_shortcut():
    block = DiscriminatorBlock(3, 3, 3, "relu", halves=False, first=False)
    nn.init.zeros_(block.second.weight)
    nn.init.zeros_(block.second.bias)
    images = torch.randn(2, 3, 4, 4)
    assert torch.equal(block(images), images)


@names
def test_a_sparing_activation_is_the_same_and_leaves_its_input(name):
    values = torch.linspace(-3, 3, 9)
    before = values.clone()
    assert torch.equal(out_of_place_activation(name)(values), activation(name)(values.clone()))
    assert torch.equal(values, before)


@pytest.mark.parametrize("name", ["sngan", "sagan", "biggan", "biggan_deep"])
def test_the_logit_is_the_heads_and_the_projection_of_the_summed_maps(name):
    torch.manual_seed(0)
    network = DISCRIMINATORS[name]
    discriminator = network(NetworkSpec(32, 3, 8, 5), network.Options(base_channels=2))
    images, labels = torch.randn(3, 3, 32, 32), torch.tensor([4, 0, 2])
    maps = discriminator.layers(images).clamp_min(0)
    features = torch.stack([maps[:, channel].flatten(1).sum(1) for channel in range(maps.shape[1])], 1)
    assert_close(discriminator.features(images), features)
    for index, label in enumerate(labels):
        head = discriminator.head.weight[0] @ features[index] + discriminator.head.bias[0]
        inner = (discriminator.embedding.weight[label] * features[index]).sum()
        assert_close(discriminator(images, labels)[index], head + inner)
    assert discriminator.embedding.weight.shape == (5, discriminator.feature_width)


@pytest.mark.parametrize("name", ["sngan", "sagan", "biggan", "biggan_deep"])
def test_the_last_batch_norm_is_unconditional(name):
    network = GENERATORS[name]
    generator = network(NetworkSpec(32, 1, 8, 5), network.Options(base_channels=2))
    norm, _, convolution, squash = generator.output
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.affine
    assert (convolution.out_channels, type(squash)) == (1, nn.Tanh)
