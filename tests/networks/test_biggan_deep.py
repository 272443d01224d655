"""BigGAN-deep has the parameters of a published implementation, and shortcuts that keep what they carry."""

import pytest
import torch
from torch import nn
from torch.nn.functional import avg_pool2d, interpolate
from torch.testing import assert_close

from kennel.networks import DISCRIMINATORS, GENERATORS, NetworkSpec
from kennel.networks.biggan_deep import DeepDiscriminatorBlock, DeepGeneratorBlock
from kennel.networks.layers.attention import NonLocalBlock
from kennel.networks.layers.normalization import Condition, ConditionalBatchNorm, Conditioning
from kennel.networks.summary import parameter_count


def built(registry, size, latent=8, classes=0, **options):
    network = registry["biggan_deep"]
    return network(NetworkSpec(size, 3, latent, classes), network.Options(**options))


def test_a_pair_at_128_has_the_parameters_of_compare_gan():
    # google/compare_gan, resnet_biggan_deep_test.py
    with torch.device("meta"):
        pair = [built(registry, 128, 128, 1000) for registry in (GENERATORS, DISCRIMINATORS)]
    assert [parameter_count(network) for network in pair] == [50_244_484, 34_590_210]


def test_the_generators_shortcut_drops_channels_and_doubles():
    torch.manual_seed(0)
    block = DeepGeneratorBlock(8, 4, Conditioning(), "relu", doubles=True)
    nn.init.zeros_(block.convolutions[3].weight)
    nn.init.zeros_(block.convolutions[3].bias)
    images = torch.randn(2, 8, 4, 4)
    assert torch.equal(block(images, Condition()), interpolate(images[:, :4], scale_factor=2))


def test_the_generators_residual_is_four_convolutions_each_after_batch_norm_and_activation():
    torch.manual_seed(0)
    block = DeepGeneratorBlock(8, 8, Conditioning(vector=3), "relu", doubles=True)
    images, told = torch.randn(2, 8, 4, 4), Condition(vector=torch.randn(2, 3))
    one, two, three, four = block.convolutions
    shapes = [(c.in_channels, c.out_channels, c.kernel_size) for c in block.convolutions]
    assert shapes == [(8, 2, (1, 1)), (2, 2, (3, 3)), (2, 2, (3, 3)), (2, 8, (1, 1))]
    hidden = one(block.norms[0](images, told).relu())
    hidden = two(interpolate(block.norms[1](hidden, told).relu(), scale_factor=2))
    hidden = three(block.norms[2](hidden, told).relu())
    hidden = four(block.norms[3](hidden, told).relu())
    assert_close(block(images, told), hidden + interpolate(images, scale_factor=2))


def test_the_discriminators_block_appends_channels_to_its_shortcut():
    torch.manual_seed(0)
    block = DeepDiscriminatorBlock(4, 8, "relu", halves=True)
    images = torch.randn(2, 4, 4, 4)
    convolutions = [layer for layer in block.layers if isinstance(layer, nn.Conv2d)]
    assert [(c.in_channels, c.out_channels, c.kernel_size[0]) for c in convolutions] == [
        (4, 2, 1),
        (2, 2, 3),
        (2, 2, 3),
    ]
    hidden = images
    for convolution in convolutions:
        hidden = convolution(hidden.relu())
    residual = block.widen(avg_pool2d(hidden.relu(), 2))
    smaller = avg_pool2d(images, 2)
    before = images.clone()
    assert_close(block(images), residual + torch.cat([smaller, block.appended(smaller)], 1))
    assert torch.equal(images, before)


def test_every_batch_norm_but_the_last_is_told_the_whole_latent_and_the_class():
    generator = built(GENERATORS, 64, 8, 3, base_channels=1, shared_embedding=5)
    norms = [module for module in generator.modules() if isinstance(module, ConditionalBatchNorm)]
    assert [(norm.classes, norm.vector) for norm in norms] == [(0, 13)] * (2 * 4 * 4)
    latents, labels = torch.randn(2, 8), torch.tensor([2, 0])
    stem, conditions = generator.inputs(latents, labels)
    assert torch.equal(stem, torch.cat([latents, generator.embedding.weight[labels]], 1))
    assert len(conditions) == 8
    assert all(condition.vector is stem for condition in conditions)


@pytest.mark.parametrize("depth", [1, 3])
def test_depth_is_the_number_of_blocks_at_each_resolution(depth):
    generator = built(GENERATORS, 64, base_channels=1, depth=depth)
    discriminator = built(DISCRIMINATORS, 64, base_channels=1, depth=depth)
    assert [block.doubles for block in generator.blocks] == ([False] * (depth - 1) + [True]) * 4
    blocks = [layer for layer in discriminator.layers if isinstance(layer, DeepDiscriminatorBlock)]
    assert [block.halves for block in blocks] == ([True] + [False] * (depth - 1)) * 4
    assert generator(torch.randn(2, 8)).shape == (2, 3, 64, 64)
    assert discriminator(torch.randn(2, 3, 64, 64)).shape == (2,)


@pytest.mark.parametrize(("size", "side"), [(64, 32), (128, 64)])
def test_attention_follows_the_doubling_in_the_generator_and_the_last_block_in_the_discriminator(size, side):
    generator = built(GENERATORS, size, base_channels=1)
    discriminator = built(DISCRIMINATORS, size, base_channels=1)
    doublings = [index for index, block in enumerate(generator.blocks) if block.doubles]
    assert generator.attends_after == doublings[(side // 4).bit_length() - 2]
    kinds = [type(layer) for layer in discriminator.layers]
    assert kinds.index(NonLocalBlock) == 3  # after the first convolution and the two blocks at half the side
