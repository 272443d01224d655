"""The generator for small sets."""

import pytest
import torch

from kennel.networks import GENERATORS, NetworkSpec
from kennel.networks.fastgan import FastganOptions, widths_of
from kennel.networks.layers.skip_excitation import SkipExcitation


def generator(size=64, classes=0, **options):
    torch.manual_seed(0)
    return GENERATORS["fastgan"](
        NetworkSpec(size, 3, 16, classes), FastganOptions(base_channels=4, **options)
    )


def test_channels_are_the_authors_at_their_width():
    # Their table: 4: 16, 8: 8, 16: 4, 32: 2, 64: 2, 128: 1, 256: 0.5, times 128.
    assert widths_of(256, 128) == {4: 2048, 8: 1024, 16: 512, 32: 256, 64: 256, 128: 128, 256: 64}


@pytest.mark.parametrize(
    ("size", "gated"), [(32, {32: 4}), (64, {64: 4}), (128, {64: 4, 128: 8}), (256, {64: 4, 128: 8, 256: 16})]
)
def test_each_map_gates_the_one_of_sixteen_times_its_side_or_the_last(size, gated):
    built = generator(size)
    assert {int(side): built._coarse(int(side)) for side in built.excitations} == gated


def test_an_excitation_multiplies_each_channel_by_one_number_between_0_and_1():
    torch.manual_seed(0)
    fine, coarse = torch.rand(2, 3, 16, 16) + 1, torch.randn(2, 5, 4, 4)
    ratio = SkipExcitation(5, 3)(fine, coarse) / fine
    assert (ratio.amin((2, 3)) > 0).all()
    assert (ratio.amax((2, 3)) < 1).all()
    torch.testing.assert_close(ratio.amax((2, 3)), ratio.amin((2, 3)))
    assert (ratio[0] - ratio[1]).abs().max() > 1e-3


def test_noise_begins_with_no_strength_and_the_second_convolution_is_at_every_other_side():
    full = generator(second=True, noise=True).eval()
    latents = torch.randn(2, 16)
    assert torch.equal(full(latents), full(latents))
    assert [len(units) for units in full.blocks.values()] == [2, 1, 2, 1]


def test_noise_is_drawn_in_training_and_the_same_for_every_sample_else():
    full = generator(second=True, noise=True)
    with torch.no_grad():
        for name, parameter in full.named_parameters():
            if name.endswith("strength"):
                parameter.fill_(1.0)
    latents = torch.randn(2, 16)
    assert not torch.equal(full(latents), full(latents))
    full.eval()
    both = full(latents)
    assert torch.equal(both, full(latents))
    torch.testing.assert_close(full(latents[1:]), both[1:])
    planes = [value for name, value in full.named_buffers() if name.endswith("plane")]
    assert len({tuple(plane.flatten().tolist()) for plane in planes}) == len(planes) == 6
    assert not any(name.endswith("plane") for name in full.state_dict())
