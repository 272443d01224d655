"""Convolutions by fewer products are the direct ones, forward, backward and twice backward."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d

from kennel.networks.layers import conv, winograd
from kennel.networks.layers.conv import (
    Convolution,
    TransposedConvolution,
    downsample,
    set_winograd,
    upsample,
)
from kennel.networks.layers.winograd import DOUBLED_3X3, HALVED_3X3, STRIDED_4X4, TILED_3X3

WAYS = (DOUBLED_3X3, HALVED_3X3, STRIDED_4X4, TILED_3X3)


def layers(channels: int = 6, outputs: int = 8):
    """Each way of calling a layer that may take fewer products: (layer, call)."""
    torch.manual_seed(0)
    return {
        "3x3": (Convolution(channels, outputs, 3, padding=1), lambda layer, maps: layer(maps)),
        "3x3 on doubled": (
            Convolution(channels, outputs, 3, padding=1),
            lambda layer, maps: layer.forward_upsampled(maps),
        ),
        "3x3 halved": (
            Convolution(channels, outputs, 3, padding=1),
            lambda layer, maps: layer.forward_downsampled(maps),
        ),
        "4x4 strided": (
            Convolution(channels, outputs, 4, stride=2, padding=1, bias=False),
            lambda layer, maps: layer(maps),
        ),
        "4x4 transposed": (
            TransposedConvolution(channels, outputs, 4, stride=2, padding=1),
            lambda layer, maps: layer(maps),
        ),
    }


@pytest.fixture(autouse=True)
def every_width_counts(monkeypatch):
    monkeypatch.setattr(conv, "MIN_CHANNELS", dict.fromkeys(WAYS, 1))


@pytest.fixture
def taken(monkeypatch):
    """The ways that were taken, in order."""
    seen = []
    original = winograd.weight_transform

    def noting(how, weight):
        seen.append(how)
        return original(how, weight)

    monkeypatch.setattr(winograd, "weight_transform", noting)
    return seen


def run(layer, call, maps, direction):
    """Value and gradients; `direction` is what the value is weighted with."""
    maps = maps.clone().requires_grad_()
    made = call(layer, maps)
    return made, torch.autograd.grad((made * direction(made)).sum(), (maps, *layer.parameters()))


@pytest.mark.parametrize("name", layers())
@pytest.mark.parametrize("shape", [(3, 6, 8, 8), (2, 6, 4, 12)])
def test_fewer_products_give_the_same_value_and_gradients(name, shape, taken):
    layer, call = layers()[name]
    layer = layer.double()
    maps = torch.randn(shape, dtype=torch.float64)

    def direction(made):
        return torch.randn(made.shape, dtype=made.dtype, generator=torch.Generator().manual_seed(1))

    expected, expected_gradients = run(layer, call, maps, direction)
    assert taken == []
    set_winograd(layer, True)
    made, gradients = run(layer, call, maps, direction)
    assert len(taken) == 1
    torch.testing.assert_close(made, expected, rtol=1e-12, atol=1e-12)
    for gradient, wanted in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(gradient, wanted, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("name", layers())
def test_a_gradient_penalty_through_fewer_products_has_the_same_gradient(name, taken):
    layer, call = layers()[name]
    layer = layer.double()
    maps = torch.randn(2, 6, 4, 4, dtype=torch.float64)

    def penalty_gradient():
        images = maps.clone().requires_grad_()
        slope = torch.autograd.grad(call(layer, images).square().sum(), images, create_graph=True)[0]
        return torch.autograd.grad(slope.square().sum(), list(layer.parameters()))

    expected = penalty_gradient()
    set_winograd(layer, True)
    found = penalty_gradient()
    assert taken
    for gradient, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(gradient, wanted, rtol=1e-11, atol=1e-10)


def test_many_images_are_done_in_portions_with_the_same_result(monkeypatch):
    layer, call = layers()["4x4 strided"]
    layer = layer.double()
    maps = torch.randn(13, 6, 8, 8, dtype=torch.float64)
    set_winograd(layer, True)
    whole = run(layer, call, maps, torch.ones_like)
    monkeypatch.setattr(winograd, "CHUNK_ROWS", 8)
    monkeypatch.setattr(winograd, "CHUNK_BYTES", 1)
    portions = run(layer, call, maps, torch.ones_like)
    torch.testing.assert_close(portions[0], whole[0])
    torch.testing.assert_close(portions[1], whole[1])


@pytest.mark.parametrize("how", WAYS)
def test_rounding_in_float32_is_that_of_the_direct_convolution(how):
    torch.manual_seed(0)
    maps = torch.randn(4, 64, 8, 8)
    weight = torch.randn(64, 64, how.kernel, how.kernel) * 0.05
    plain = {
        DOUBLED_3X3: lambda m, w: conv2d(upsample(m), w, padding=1),
        HALVED_3X3: lambda m, w: downsample(conv2d(m, w, padding=1)),
        STRIDED_4X4: lambda m, w: conv2d(m, w, stride=2, padding=1),
        TILED_3X3: lambda m, w: conv2d(m, w, padding=1),
    }[how]
    exact = plain(maps.double(), weight.double())
    layer = Convolution(64, 64, how.kernel, stride=2 if how.kernel == 4 else 1, padding=1, bias=False)
    layer.weight.data.copy_(weight)
    set_winograd(layer, True)
    call = {DOUBLED_3X3: layer.forward_upsampled, HALVED_3X3: layer.forward_downsampled}.get(how, layer)
    scale = exact.abs().max()
    assert (call(maps) - exact).abs().max() < 2e-6 * scale
    assert (plain(maps, weight) - exact).abs().max() < 2e-6 * scale


def test_maps_of_an_odd_side_strided_or_grouped_layers_and_autocast_go_the_direct_way(taken):
    layer = Convolution(4, 4, 3, padding=1)
    layer.winograd = True
    assert layer(torch.randn(1, 4, 7, 7)).shape == (1, 4, 7, 7)
    for other in (
        Convolution(4, 4, 3, padding=1, groups=2),
        Convolution(4, 4, 3, stride=2, padding=1),
        Convolution(4, 4, 1),
        Convolution(4, 4, 3, padding=1, padding_mode="reflect"),
    ):
        other.winograd = True
        other(torch.randn(1, 4, 8, 8))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(torch.randn(1, 4, 8, 8)).dtype == torch.bfloat16
    assert taken == []
    layer(torch.randn(1, 4, 8, 8))
    assert taken == [TILED_3X3]


def test_layers_that_are_too_narrow_go_the_direct_way(taken, monkeypatch):
    monkeypatch.setattr(conv, "MIN_CHANNELS", dict.fromkeys(WAYS, 5))
    layer = Convolution(4, 8, 3, padding=1)
    layer.winograd = True
    layer(torch.randn(1, 4, 8, 8))
    assert taken == []


def test_an_activation_may_overwrite_the_outcome():
    layer = Convolution(4, 4, 3, padding=1)
    layer.winograd = True
    network = nn.Sequential(layer, nn.ReLU(inplace=True))
    network(torch.randn(2, 4, 8, 8, requires_grad=True)).sum().backward()
    assert layer.weight.grad is not None


def test_a_copy_of_a_network_keeps_its_way():
    network = nn.Sequential(Convolution(4, 4, 3, padding=1))
    set_winograd(network, True)
    assert copy.deepcopy(network)[0].winograd


@pytest.mark.parametrize("minimal", [False, True])
@pytest.mark.parametrize("name", layers(2, 2))
def test_second_and_third_derivatives_are_those_of_finite_differences(name, minimal):
    layer, call = layers(2, 2)[name]
    layer = layer.double()
    set_winograd(layer, minimal)
    maps = torch.randn(1, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    weight = layer.weight.detach().clone().requires_grad_()

    def made(maps, weight):
        probe = copy.copy(layer)
        probe._parameters = {**layer._parameters, "weight": weight}
        return call(probe, maps).tanh()

    assert torch.autograd.gradgradcheck(made, (maps, weight), fast_mode=True)


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 3, "padding": 1, "groups": 2},
        {"kernel_size": 3, "padding": 1, "stride": 2},
        {"kernel_size": 1},
        {"kernel_size": 4, "groups": 4, "bias": False},
    ],
)
def test_any_convolution_and_its_penalty_are_those_of_pytorch(options):
    torch.manual_seed(0)
    ours, theirs = Convolution(4, 8, **options).double(), nn.Conv2d(4, 8, **options).double()
    theirs.load_state_dict(ours.state_dict())
    maps = torch.randn(2, 4, 8, 8, dtype=torch.float64, requires_grad=True)

    def derivatives(layer):
        made = layer(maps)
        first = torch.autograd.grad(made.tanh().sum(), maps, create_graph=True)[0]
        return made, first, torch.autograd.grad(first.square().sum(), (maps, layer.weight))

    for one, other in zip(derivatives(ours), derivatives(theirs), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("transposed", [False, True])
def test_value_and_gradients_are_bit_for_bit_pytorchs(transposed):
    torch.manual_seed(0)
    kind = (TransposedConvolution, nn.ConvTranspose2d) if transposed else (Convolution, nn.Conv2d)
    ours, theirs = (one(8, 16, 4, stride=2, padding=1).to(memory_format=torch.channels_last) for one in kind)
    theirs.load_state_dict(ours.state_dict())
    maps = torch.randn(4, 8, 8, 8).contiguous(memory_format=torch.channels_last)
    found = [run(layer, lambda layer, maps: layer(maps), maps, torch.ones_like) for layer in (ours, theirs)]
    assert torch.equal(found[0][0], found[1][0])
    assert all(torch.equal(one, other) for one, other in zip(found[0][1], found[1][1], strict=True))


def test_under_autocast_the_layers_compute_in_low_precision_and_their_weights_get_float32_gradients():
    layer = Convolution(4, 4, 3, padding=1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        made = layer(torch.randn(2, 4, 8, 8))
    assert made.dtype == torch.bfloat16
    made.float().sum().backward()
    assert layer.weight.grad.dtype == torch.float32
