"""SNGAN's tables are those that its authors published."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from kennel.networks import DISCRIMINATORS, GENERATORS, NetworkSpec
from kennel.networks.layers.conv import Convolution
from kennel.networks.layers.normalization import ConditionalBatchNorm
from kennel.networks.summary import parameter_count


def built(registry, size, classes=0, **options):
    network = registry["sngan"]
    with torch.device("meta"):
        return network(NetworkSpec(size, 3, 128, classes), network.Options(**options))


@pytest.mark.parametrize(
    ("size", "widths"),
    [
        (32, [256, 256, 256, 256]),
        (64, [1024, 512, 256, 128, 64]),
        (128, [1024, 1024, 512, 256, 128, 64]),
    ],
)
def test_the_generator_has_the_published_channels(size, widths):
    generator = built(GENERATORS, size)
    assert generator.stem.weight.shape == (16 * widths[0], 128)
    blocks = [
        (b.first.in_channels, b.first.out_channels, b.second.out_channels, b.shortcut.out_channels)
        for b in generator.blocks
    ]
    assert blocks == [(width, wider, wider, wider) for width, wider in pairwise(widths)]


@pytest.mark.parametrize(
    ("size", "widths", "halvings"),
    [
        (32, [128, 128, 128, 128], 2),
        (64, [64, 128, 256, 512, 1024], 5),
        (128, [64, 128, 256, 512, 1024, 1024], 5),
    ],
)
def test_the_discriminator_has_the_published_channels_with_narrow_hidden_layers(size, widths, halvings):
    discriminator = built(DISCRIMINATORS, size)
    before = [3, *widths[:-1]]
    hidden = [widths[0], *widths[:-1]]  # as many as the inputs, but in the first block
    blocks = discriminator.layers
    channels = [(b.first.in_channels, b.second.in_channels, b.second.out_channels) for b in blocks]
    assert channels == list(zip(before, hidden, widths, strict=True))
    assert [block.halves for block in blocks] == [index < halvings for index in range(len(widths))]
    assert [type(block.shortcut) for block in blocks] == [
        Convolution if index < halvings or one != other else nn.Identity
        for index, (one, other) in enumerate(zip(before, widths, strict=True))
    ]


def test_the_networks_of_cifar_have_the_parameters_of_their_layers():
    block = 2 * (256 * 256 * 9 + 256) + (256 * 256 + 256) + 2 * 2 * 256  # two 3x3, a 1x1, two batch norms
    stem, last = 128 * 4096 + 4096, 2 * 256 + 256 * 3 * 9 + 3
    assert parameter_count(built(GENERATORS, 32)) == stem + 3 * block + last == 4_276_739
    conv = 128 * 128 * 9 + 128
    first = (3 * 128 * 9 + 128) + conv + (3 * 128 + 128)
    second = 2 * conv + (128 * 128 + 128)
    discriminator = first + second + 2 * 2 * conv + 128 + 1
    assert parameter_count(built(DISCRIMINATORS, 32)) == discriminator == 1_053_825


def test_classes_give_every_block_two_tables_for_each_batch_norm_and_the_discriminator_an_embedding():
    plain, conditional = built(GENERATORS, 64), built(GENERATORS, 64, classes=120)
    tables = [module for module in conditional.modules() if isinstance(module, ConditionalBatchNorm)]
    channels = (1024 + 512) + (512 + 256) + (256 + 128) + (128 + 64)
    assert len(tables) == 8
    assert parameter_count(conditional) - parameter_count(plain) == 2 * channels * (120 - 1)
    without, projecting = built(DISCRIMINATORS, 64), built(DISCRIMINATORS, 64, classes=120)
    assert parameter_count(projecting) - parameter_count(without) == 120 * 1024
    kept = built(DISCRIMINATORS, 64, classes=120, conditioning="none")
    assert parameter_count(kept) == parameter_count(without)


def test_epsilon_reaches_every_batch_norm():
    norms = [m for m in built(GENERATORS, 32, 3, epsilon=0.5).modules() if isinstance(m, nn.BatchNorm2d)]
    assert [norm.eps for norm in norms] == [0.5] * 7
