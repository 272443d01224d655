import pytest
import torch
from torch import nn
from torch.nn import functional

from kennel.features.efficientnet_lite_network import (
    EPSILON,
    STAGES,
    EfficientNetLiteGraph,
    Variant,
    folded_state,
    stages_of,
)
from kennel.features.fused_conv import pack_convolutions
from kennel.features.inverted_residuals import InvertedResidualNetwork, padded_for_stride_2
from kennel.features.mobilenet_network import MobileNetGraph

NETWORKS = {
    "lite0": lambda: EfficientNetLiteGraph("lite0"),
    "lite1": lambda: EfficientNetLiteGraph("lite1"),
    "mobilenet": MobileNetGraph,
}


def frozen(name: str) -> InvertedResidualNetwork:
    torch.manual_seed(0)
    return NETWORKS[name]().eval().requires_grad_(False)


def pictures(side: int, count: int = 2) -> torch.Tensor:
    images = torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(1))
    return images.contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("name", "widths"),
    [("lite0", (24, 40, 112, 320)), ("lite1", (24, 40, 112, 320)), ("mobilenet", (24, 32, 96, 320))],
)
@pytest.mark.parametrize("side", [32, 96])
def test_the_taps_are_the_last_maps_at_a_4th_an_8th_a_16th_and_a_32nd(
    name: str, widths: tuple[int, ...], side: int
) -> None:
    network = frozen(name)
    shapes = [tuple(tap.shape) for tap in network.taps(pictures(side))]
    assert network.tap_widths == widths
    assert shapes == [
        (2, width, side // by, side // by) for width, by in zip(widths, (4, 8, 16, 32), strict=True)
    ]


def test_lite1_has_the_depth_of_lite0_times_1_1_rounded_up_but_for_first_and_last() -> None:
    assert [repeats for *_, repeats, _ in stages_of("lite0")] == [repeats for *_, repeats, _ in STAGES]
    assert [repeats for *_, repeats, _ in stages_of("lite1")] == [1, 3, 3, 4, 4, 5, 1]


@pytest.mark.parametrize("name", NETWORKS)
def test_the_features_are_the_mean_of_the_head_over_the_last_tap(name: str) -> None:
    network, images = frozen(name), pictures(64)
    features, logits = network(images)
    torch.testing.assert_close(features, network.head(network.taps(images)[-1]).mean((2, 3)))
    assert logits.shape[1] == network.classifier.out_features


@pytest.mark.parametrize(("kernel", "even", "odd"), [(3, (0, 1), (1, 1)), (5, (1, 2), (2, 2))])
def test_padding_before_stride_2_is_tensorflows(
    kernel: int, even: tuple[int, int], odd: tuple[int, int]
) -> None:
    maps = torch.ones(1, 1, 8, 7)
    expected = functional.pad(maps, (*odd, *even))
    torch.testing.assert_close(padded_for_stride_2(maps, kernel), expected)


@pytest.mark.parametrize("variant", ["lite0", "lite1"])
def test_folding_gives_convolution_and_batch_norm(variant: Variant) -> None:
    """Each folded pair against torch's own convolution and batch norm in evaluation."""
    random = torch.Generator().manual_seed(0)
    network = EfficientNetLiteGraph(variant)
    published = {"_fc.weight": network.classifier.weight, "_fc.bias": network.classifier.bias}
    pairs: list[tuple[str, str, str]] = [("stem", "_conv_stem", "_bn0"), ("head", "_conv_head", "_bn1")]
    for place, block in enumerate(network.blocks):
        parts = [("depthwise", "_depthwise_conv", "_bn1"), ("project", "_project_conv", "_bn2")]
        if block.expansion > 1:
            parts.append(("expand", "_expand_conv", "_bn0"))
        pairs += [
            (f"blocks.{place}.{ours}", f"_blocks.{place}.{c}", f"_blocks.{place}.{n}") for ours, c, n in parts
        ]
    for ours, convolution, norm in pairs:
        weight = network.get_submodule(ours).weight
        published[f"{convolution}.weight"] = torch.randn(weight.shape, generator=random)
        for part in ("weight", "bias", "running_mean", "running_var"):
            published[f"{norm}.{part}"] = torch.rand(len(weight), generator=random)
    network.load_state_dict(folded_state(published, variant))
    for ours, convolution, norm in (pairs[0], pairs[3], pairs[-1]):
        folded = network.get_submodule(ours)
        batch_norm = nn.BatchNorm2d(folded.out_channels, eps=EPSILON).eval()
        batch_norm.load_state_dict(
            {part: published[f"{norm}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")},
            strict=False,
        )
        maps = torch.randn(1, folded.in_channels, 7, 7, generator=random)
        plain = functional.conv2d(
            maps, published[f"{convolution}.weight"], None, folded.stride, folded.padding, 1, folded.groups
        )
        given = functional.conv2d(
            maps, folded.weight, folded.bias, folded.stride, folded.padding, 1, folded.groups
        )
        torch.testing.assert_close(given, batch_norm(plain), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_gradient_of_the_taps_with_respect_to_the_images_is_the_slope(name: str) -> None:
    network = frozen(name).double()
    images = pictures(32, 1).double().requires_grad_()
    direction = torch.randn(images.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)

    def total(given: torch.Tensor) -> torch.Tensor:
        return torch.stack([tap.square().sum() for tap in network.taps(given)]).sum()

    (gradient,) = torch.autograd.grad(total(images), images)
    step = 1e-5
    with torch.no_grad():
        slope = (total(images + step * direction) - total(images - step * direction)) / (2 * step)
    torch.testing.assert_close((gradient * direction).sum(), slope, rtol=1e-5, atol=1e-7)


def test_a_packed_network_gives_the_same_taps_with_and_without_a_gradient() -> None:
    network, images = frozen("lite1"), pictures(64)
    with torch.no_grad():
        truth = network.taps(images)
        pack_convolutions(network, images)
        packed = network.taps(images)
    assert network.stem.packed is not None, "this build has the layout, or the test shows nothing"
    watched = images.clone(memory_format=torch.channels_last).requires_grad_()
    with_gradient = network.taps(watched)
    for one, two, three in zip(truth, packed, with_gradient, strict=True):
        torch.testing.assert_close(two, one, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(three.detach(), one, rtol=0, atol=0)
        assert three.requires_grad
    with_gradient[-1].sum().backward()
    assert watched.grad is not None
    assert float(watched.grad.abs().sum()) > 0


@pytest.mark.parametrize("packed", [False, True])
def test_taps_in_bfloat16_are_near_those_in_float32(packed: bool) -> None:
    network, images = frozen("lite1"), pictures(64)
    with torch.no_grad():
        truth = network.taps(images)
        network = network.to(torch.bfloat16, memory_format=torch.channels_last)
        if packed:
            pack_convolutions(network, images.bfloat16())
        fast = network.taps(images.bfloat16())
    for tap, exact in zip(fast, truth, strict=True):
        assert tap.dtype == torch.bfloat16
        assert float((tap.float() - exact).norm() / exact.norm()) < 0.1


def test_autocast_goes_the_plain_way_of_a_packed_network() -> None:
    network, images = frozen("lite0"), pictures(32)
    with torch.no_grad():
        pack_convolutions(network, images)
        with torch.autocast("cpu", torch.bfloat16):
            assert network.taps(images)[0].dtype == torch.bfloat16
