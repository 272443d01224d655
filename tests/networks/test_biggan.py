"""BigGAN has the parameters that its paper and two published codes count, and each chunk its place."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from kennel.errors import RecipeError
from kennel.networks import DISCRIMINATORS, GENERATORS, NetworkSpec
from kennel.networks.layers.normalization import ConditionalBatchNorm
from kennel.networks.summary import parameter_count


def counts(size, latent, *, discriminator=None, **options):
    """The parameters of a pair for 1,000 classes in colour."""
    shared = {key: options[key] for key in ("base_channels", "attention") if key in options}
    setting = NetworkSpec(size, 3, latent, 1000)
    with torch.device("meta"):
        generator = GENERATORS["biggan"](setting, GENERATORS["biggan"].Options(**options))
        other = DISCRIMINATORS["biggan"](setting, DISCRIMINATORS["biggan"].Options(**shared))
    return parameter_count(generator), parameter_count(other)


def generator_of(size=64, latent=10, classes=3, **options):
    torch.manual_seed(0)
    network = GENERATORS["biggan"]
    return network(NetworkSpec(size, 3, latent, classes), network.Options(base_channels=1, **options))


TABLES = {"shared_embedding": 0, "hierarchical": False}


@pytest.mark.parametrize(
    ("millions", "latent", "uncounted", "options"),
    [
        (81.5, 128, 0, {"base_channels": 64, **TABLES}),
        (173.5, 128, 0, {"base_channels": 96, **TABLES}),
        (160.6, 128, 1000 * 128, {"base_channels": 96, "hierarchical": False}),
        (158.3, 120, 1000 * 128, {"base_channels": 96}),
        (71.3, 120, 1000 * 128, {"base_channels": 64}),
    ],
)
def test_a_pair_at_128_has_the_parameters_of_the_papers_table_1(millions, latent, uncounted, options):
    # The table's numbers come out where a whole latent has 128 dimensions and a split one 120, and where the
    # shared embedding is not counted; see docs/networks.md.
    assert round((sum(counts(128, latent, **options)) - uncounted) / 1e6, 1) == millions


def test_a_pair_at_128_has_the_parameters_of_compare_gan():
    # google/compare_gan, resnet_biggan_test.py
    assert counts(128, 120, base_channels=96) == (70_433_988, 87_982_370)


def test_a_pair_at_256_has_the_parameters_of_compare_gan_but_for_two_choices():
    # The same authors' resnet_biggan.py: attention at side 128 in the generator, where ours is at 64, and no
    # convolution in the shortcut of a block that halves without widening.
    generator, discriminator = counts(256, 140, base_channels=96)
    attention = {width: 5 * width * width // 4 + 1 for width in (192, 384)}
    assert generator - attention[384] + attention[192] == 82_097_604
    assert discriminator - (768 * 768 + 768) == 98_635_298


def test_a_pair_at_64_has_the_parameters_of_the_authors_pytorch_code():
    generator, discriminator = counts(64, 120, base_channels=96)
    assert (generator, discriminator) == (70_377_348, 45_511_970)  # "70.4 M" and "45.5 M"


def test_the_stem_gets_the_first_chunk_and_each_block_the_embedding_and_the_next():
    generator = generator_of(shared_embedding=4)
    latents, labels = torch.arange(20.0).reshape(2, 10), torch.tensor([2, 0])
    stem, conditions = generator.inputs(latents, labels)
    assert torch.equal(stem, latents[:, :2])
    assert len(conditions) == len(generator.blocks) == 4
    for index, condition in enumerate(conditions):
        assert condition.labels is None
        assert torch.equal(condition.vector[:, :4], generator.embedding.weight[labels])
        assert torch.equal(condition.vector[:, 4:], latents[:, 2 * index + 2 : 2 * index + 4])


def test_every_chunk_changes_the_image():
    generator = generator_of(classes=0)
    latents = torch.randn(4, 10)
    before = generator(latents)
    for chunk in range(5):
        moved = latents.clone()
        moved[:, 2 * chunk] += 1
        assert not torch.allclose(generator(moved), before)


def test_without_hierarchy_the_whole_latent_goes_to_the_stem():
    generator = generator_of(latent=7, hierarchical=False, shared_embedding=4)
    latents, labels = torch.randn(2, 7), torch.tensor([2, 0])
    stem, conditions = generator.inputs(latents, labels)
    assert torch.equal(stem, latents)
    assert all(torch.equal(one.vector, generator.embedding.weight[labels]) for one in conditions)


def test_without_a_shared_embedding_every_batch_norm_has_tables_of_its_own():
    generator = generator_of(shared_embedding=0)
    norms = [module for module in generator.modules() if isinstance(module, ConditionalBatchNorm)]
    assert [(norm.classes, norm.vector) for norm in norms] == [(3, 2)] * 8
    assert not hasattr(generator, "embedding")


def test_one_table_and_a_linear_map_of_a_one_hot_label_are_the_same():
    # So the tables with a split latent are what the published codes compute from [chunk, one-hot label].
    layer = ConditionalBatchNorm(3, classes=2, vector=4, epsilon=1e-5)
    nn.init.normal_(layer.gain_of_class.weight)
    joined = torch.cat([layer.gain.weight, layer.gain_of_class.weight.T], 1)
    vector, labels = torch.randn(5, 4), torch.tensor([0, 1, 1, 0, 1])
    one_hot = torch.nn.functional.one_hot(labels, 2).float()
    found = layer.gain(vector) + layer.gain_of_class(labels)
    assert_close(found, torch.cat([vector, one_hot], 1) @ joined.T)


def test_without_classes_only_the_chunks_condition_and_without_both_nothing_does():
    chunks = [m for m in generator_of(classes=0).modules() if isinstance(m, ConditionalBatchNorm)]
    assert [(norm.classes, norm.vector) for norm in chunks] == [(0, 2)] * 8
    plain = generator_of(classes=0, hierarchical=False)
    assert not any(isinstance(module, ConditionalBatchNorm) for module in plain.modules())
    assert sum(isinstance(module, nn.BatchNorm2d) for module in plain.modules()) == 9


@pytest.mark.parametrize(
    ("size", "latent", "words"),
    [
        (64, 128, "latent_dim = 128: .* 64x64 images into 5 equal chunks; make it 125 or 130,"),
        (32, 3, "into 4 equal chunks; make it 4,"),
        (256, 128, "into 7 equal chunks; make it 126 or 133, or set generator.hierarchical=false"),
    ],
)
def test_a_latent_that_cannot_be_split_is_refused_with_the_nearest_that_can(size, latent, words):
    with pytest.raises(RecipeError, match=words):
        generator_of(size, latent)


@pytest.mark.parametrize(
    ("size", "generator_widths", "discriminator_widths", "halvings"),
    [
        (32, [4, 4, 4, 4], [4, 4, 4, 4], 2),
        (64, [16, 16, 8, 4, 2], [1, 2, 4, 8, 16], 4),
        (128, [16, 16, 8, 4, 2, 1], [1, 2, 4, 8, 16, 16], 5),
        (256, [16, 16, 8, 8, 4, 2, 1], [1, 2, 4, 8, 8, 16, 16], 6),
    ],
)
def test_the_channels_are_the_published_ones(size, generator_widths, discriminator_widths, halvings):
    setting = NetworkSpec(size, 3, 420)
    generator = GENERATORS["biggan"](setting, GENERATORS["biggan"].Options(base_channels=1))
    discriminator = DISCRIMINATORS["biggan"](setting, DISCRIMINATORS["biggan"].Options(base_channels=1))
    assert [generator.blocks[0].first.in_channels] + [
        block.second.out_channels for block in generator.blocks
    ] == generator_widths
    blocks = [block for block in discriminator.layers if hasattr(block, "halves")]
    assert [block.second.out_channels for block in blocks] == discriminator_widths
    assert [block.first.out_channels for block in blocks] == discriminator_widths  # wide
    assert sum(block.halves for block in blocks) == halvings


def test_another_activation_is_used_throughout():
    setting = NetworkSpec(32, 3, 8)
    for registry in (GENERATORS, DISCRIMINATORS):
        network = registry["biggan"](
            setting, registry["biggan"].Options(base_channels=1, activation="leaky_relu")
        )
        kinds = {type(module) for module in network.modules()}
        assert nn.LeakyReLU in kinds
        assert nn.ReLU not in kinds
