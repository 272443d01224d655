"""The discriminators that look through a fixed network."""

import pytest
import torch
from torch.nn.functional import conv2d, interpolate

from kennel.errors import RecipeError
from kennel.features.inverted_residuals import padded_for_stride_2
from kennel.networks import DISCRIMINATORS, NetworkSpec
from kennel.networks.base import BatchStatistic
from kennel.networks.pretrained import FixedConvolution, FixedNetwork
from kennel.networks.projected import Mixing, ProjectedOptions


def discriminator(size=64, classes=0, channels=3, **options):
    torch.manual_seed(0)
    given = {"features": "untrained", "base_channels": 2, "max_channels": 8, **options}
    return DISCRIMINATORS["projected"](NetworkSpec(size, channels, 16, classes), ProjectedOptions(**given))


def test_mixing_goes_from_the_deepest_map_to_the_shallowest_by_the_papers_two_convolutions():
    torch.manual_seed(0)
    mixing = Mixing((3, 5), (2, 4))
    shallow, deep = torch.randn(2, 3, 8, 8), torch.randn(2, 5, 4, 4)
    mixed = mixing([shallow, deep])
    deepest = conv2d(deep, mixing.across_channels_1)
    up = interpolate(conv2d(deepest, mixing.across_scales_1, padding=1), scale_factor=2, mode="bilinear")
    torch.testing.assert_close(mixed[1], deepest)
    torch.testing.assert_close(mixed[0], conv2d(shallow, mixing.across_channels_0) + up)


def test_no_weight_of_the_fixed_network_is_a_parameter_or_in_a_checkpoint():
    network = discriminator()
    assert not any(name.startswith(("fixed", "mixing")) for name, _ in network.named_parameters())
    assert not any(name.startswith("fixed") for name in network.state_dict())
    assert sum(name.startswith("mixing") for name in network.state_dict()) == 7  # these are drawn, so kept
    assert any(isinstance(module, FixedConvolution) for module in network.modules())
    assert not any(isinstance(module, torch.nn.Conv2d) for module in network.fixed.modules())


def test_the_widths_that_it_names_are_those_of_the_maps():
    network = discriminator(base_channels=3)
    maps = network.embed(torch.rand(1, 3, 64, 64))
    assert tuple(one.shape[1] for one in maps) == network.embedded_widths == (3, 6, 12, 24)


def test_a_fifth_head_sees_the_images_themselves():
    network = discriminator(pixels=2, patch=8)
    images = torch.rand(2, 3, 64, 64)
    maps = network.embed(images)
    assert tuple(one.shape[1] for one in maps) == network.embedded_widths == (2, 4, 8, 16, 3)
    assert maps[-1] is images
    assert [layer.out_channels for layer in network.heads[-1].layers[::3]] == [2, 4, 8]
    assert network(images).shape[1] == discriminator(patch=8)(images).shape[1] + 25


def test_a_gradient_goes_back_through_the_fixed_network_to_the_images():
    images = torch.rand(2, 3, 64, 64, requires_grad=True)
    discriminator()(images).sum().backward()
    assert images.grad.abs().amax((1, 2, 3)).min() > 0


def test_the_logits_of_embedded_images_are_those_of_the_images():
    network = discriminator(classes=3).eval()
    images, labels = torch.rand(4, 3, 64, 64), torch.tensor([0, 1, 2, 0])
    embedded = network.embed(images)
    features = network.features_of(embedded, labels)
    assert torch.equal(network.logits(features, labels), network(images, labels))


@pytest.mark.parametrize(("patch", "side", "logits"), [(4, 64, 4), (4, 128, 4), (8, 128, 25 * 3 + 1)])
def test_each_head_gives_one_logit_or_those_of_its_patches(patch, side, logits):
    # At 128 the maps have sides 32, 16, 8 and 4: with patches of 8 three heads close 8x8 maps, to 5x5 each.
    assert discriminator(patch=patch, side=side)(torch.rand(2, 3, 64, 64)).shape == (2, logits)


def test_a_class_changes_the_logits_and_grey_is_seen_as_three_equal_channels():
    network = discriminator(classes=2).eval()
    grey = torch.rand(1, 1, 64, 64)
    one, other = (network(grey.expand(-1, 3, -1, -1), torch.tensor([label])) for label in (0, 1))
    assert not torch.equal(one, other)
    assert torch.equal(network(grey, torch.tensor([0])), one)


def test_the_teacher_is_named_and_an_untrained_network_teaches_nothing():
    assert discriminator().teacher is None
    assert discriminator(features="efficientnet_lite0").teacher == "efficientnet_lite0"


@pytest.mark.parametrize("side", [-32, 48, 100, 1056])
def test_a_side_that_the_fixed_network_cannot_halve_five_times_or_that_is_absurd_is_refused(side):
    with pytest.raises(ValueError, match="multiple of 32"):
        ProjectedOptions(side=side)


def test_a_statistic_of_the_batch_is_refused_for_there_is_no_one_last_layer():
    class Nothing(BatchStatistic):
        width = 1

    with pytest.raises(RecipeError, match="no single last layer"):
        discriminator().append_statistic(Nothing(), torch.Generator())


@pytest.mark.parametrize("name", ["efficientnet_lite0", "efficientnet_lite1"])
def test_the_fixed_network_gives_the_taps_of_the_pretrained_graph_in_its_scale(name):
    from kennel.features.pretrained import pretrained_graph

    pixels = torch.randint(0, 256, (1, 3, 64, 64)).float()
    graph = pretrained_graph(name).eval()
    with torch.no_grad():
        expected = graph.taps((pixels - 127) / 128)
        found = FixedNetwork(name)(pixels / 127.5 - 1, 64)
    assert [tuple(maps.shape[1:]) for maps in found] == [(24, 16, 16), (40, 8, 8), (112, 4, 4), (320, 2, 2)]
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_under_autocast_the_fixed_network_is_cast_once():
    network = FixedNetwork("untrained")
    with torch.autocast("cpu", torch.bfloat16):
        maps = [network(torch.rand(2, 3, 32, 32), 32) for _ in range(2)]
    assert all(one.dtype == torch.bfloat16 for one in maps[0])
    assert len(network._cast) == 1


@pytest.mark.parametrize(("size", "side"), [(32, 64), (64, 96), (128, 128), (256, 256)])
def test_small_images_are_enlarged_by_a_half_before_the_fixed_network(size, side):
    assert discriminator(size).side == side


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize(("stride", "padding"), [(1, "same"), (2, 0), (2, 1)])
def test_the_gradient_of_a_fixed_depthwise_convolution_is_pytorchs_and_can_be_differentiated_again(
    kernel, stride, padding
):
    torch.manual_seed(0)
    padding = kernel // 2 if padding == "same" else padding
    layer = torch.nn.Conv2d(4, 4, kernel, stride, padding, groups=4).double()
    fixed = FixedConvolution(layer)
    maps = torch.randn(2, 4, 9, 9, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(fixed(maps), layer(maps))
    assert torch.autograd.gradcheck(fixed, (maps,))
    assert torch.autograd.gradgradcheck(lambda given: fixed(given).square(), (maps,))


@pytest.mark.parametrize("activation", ["none", "relu", "relu6"])
@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 1), (3, 2)])
def test_the_gradient_of_a_fixed_convolution_with_its_activation_is_pytorchs(kernel, stride, activation):
    torch.manual_seed(0)
    layer = torch.nn.Conv2d(4, 6, kernel, stride, kernel // 2).double()
    fixed = FixedConvolution(layer, activation)
    maps = torch.randn(2, 4, 8, 8, dtype=torch.float64, requires_grad=True)
    plain = {"none": torch.nn.Identity(), "relu": torch.nn.ReLU(), "relu6": torch.nn.ReLU6()}[activation]
    torch.testing.assert_close(fixed(maps), plain(layer(maps)))
    assert torch.autograd.gradcheck(fixed, (maps,))
    assert torch.autograd.gradgradcheck(lambda given: fixed(given).square(), (maps,))


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_a_fixed_convolution_in_one_pass_over_memory_is_the_plain_one(precision):
    torch.manual_seed(0)
    layer = torch.nn.Conv2d(8, 16, 3, padding=1).to(precision)
    maps = torch.randn(2, 8, 12, 12).to(precision, memory_format=torch.channels_last).requires_grad_()
    found, expected = FixedConvolution(layer, "relu6")(maps), torch.nn.functional.relu6(layer(maps))
    torch.testing.assert_close(found, expected)
    (gradient,) = torch.autograd.grad(found.square().sum(), maps)
    torch.testing.assert_close(gradient, torch.autograd.grad(expected.square().sum(), maps)[0])


@pytest.mark.parametrize("kernel", [3, 5])
def test_a_fixed_convolution_that_halves_pads_as_the_network_did(kernel):
    torch.manual_seed(0)
    layer = torch.nn.Conv2d(4, 4, kernel, 2, groups=4).double()
    fixed = FixedConvolution(layer, "relu6", halves=True)
    maps = torch.randn(2, 4, 8, 8, dtype=torch.float64, requires_grad=True)
    padded = padded_for_stride_2(maps, kernel)
    torch.testing.assert_close(fixed(maps), torch.nn.functional.relu6(layer(padded)))
    assert torch.autograd.gradcheck(fixed, (maps,))
