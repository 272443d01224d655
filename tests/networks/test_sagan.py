"""SAGAN is SNGAN with attention where the released code has it, and wide hidden layers."""

import pytest
import torch
from torch.testing import assert_close

from kennel.errors import RecipeError
from kennel.networks import DISCRIMINATORS, GENERATORS, NetworkSpec
from kennel.networks.layers.attention import NonLocalBlock
from kennel.networks.summary import parameter_count


def built(registry, name, size, **options):
    network = registry[name]
    torch.manual_seed(0)
    return network(NetworkSpec(size, 3, 8), network.Options(base_channels=1, **options))


def attention_inputs(network, *entry):
    """The shape of what each non-local block of a network sees."""
    seen = []
    for module in network.modules():
        if isinstance(module, NonLocalBlock):
            module.register_forward_hook(lambda _module, given, _output: seen.append(given[0].shape[1:]))
    network(*entry)
    return seen


@pytest.mark.parametrize(
    ("size", "options", "side", "in_generator", "in_discriminator"),
    [
        (128, {}, 32, 4, 2),
        (128, {"attention": 64}, 64, 2, 1),
        (64, {}, 32, 2, 1),
        (32, {}, 16, 4, 2),
    ],
)
def test_attention_is_at_its_side_in_both_networks(size, options, side, in_generator, in_discriminator):
    generator = built(GENERATORS, "sagan", size, **options)
    discriminator = built(DISCRIMINATORS, "sagan", size, **options)
    assert attention_inputs(generator, torch.randn(2, 8)) == [(in_generator, side, side)]
    assert attention_inputs(discriminator, torch.randn(2, 3, size, size)) == [(in_discriminator, side, side)]


def test_zero_leaves_attention_out():
    generator = built(GENERATORS, "sagan", 64, attention=0)
    discriminator = built(DISCRIMINATORS, "sagan", 64, attention=0)
    assert attention_inputs(generator, torch.randn(2, 8)) == []
    assert attention_inputs(discriminator, torch.randn(2, 3, 64, 64)) == []


def test_a_new_generator_draws_what_sngan_draws():
    sagan, sngan = built(GENERATORS, "sagan", 32), built(GENERATORS, "sngan", 32, epsilon=1e-5)
    weights = sagan.state_dict()
    sngan.load_state_dict({key: weights[key] for key in sngan.state_dict()})
    latents = torch.randn(3, 8)
    assert_close(sagan(latents), sngan(latents))
    torch.nn.init.ones_(sagan.attention.gamma)
    assert not torch.allclose(sagan(latents), sngan(latents))


def test_the_discriminator_is_wide():
    blocks = [block for block in built(DISCRIMINATORS, "sagan", 64).layers if hasattr(block, "first")]
    assert [block.first.out_channels for block in blocks] == [1, 2, 4, 8, 16]


def test_a_side_without_maps_is_refused_with_those_that_have_some():
    with pytest.raises(RecipeError, match=r"attention = 24: for 64x64 images .* of side 8, 16, 32, 64;"):
        built(GENERATORS, "sagan", 64, attention=24)
    with pytest.raises(RecipeError, match="of side 2, 4, 8, 16, 32; choose one of these, or 0"):
        built(DISCRIMINATORS, "sagan", 64, attention=64)


def test_the_pair_at_128_has_the_parameters_of_biggans_baseline():
    # Brock et al. 2019, table 1, first row: SAGAN's architecture at 128x128 with 1,000 classes has 81.5 M.
    total = 0
    for registry in (GENERATORS, DISCRIMINATORS):
        network = registry["sagan"]
        with torch.device("meta"):
            total += parameter_count(network(NetworkSpec(128, 3, 128, 1000), network.Options()))
    assert total == 42_078_852 + 39_463_618
    assert round(total / 1e6, 1) == 81.5
