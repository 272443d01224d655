import pytest
import torch
from torch import nn
from torch.nn import functional

from kennel.features.fused_conv import Activation, FusedConv2d, fused_convolution, pack_convolutions

ACTIVATIONS: dict[Activation, object] = {
    "none": lambda maps: maps,
    "relu": functional.relu,
    "relu6": functional.relu6,
}


def convolution(activation: Activation, groups: int = 1, stride: int = 1) -> FusedConv2d:
    torch.manual_seed(0)
    made = FusedConv2d(8, 8, 3, stride=stride, padding=1, groups=groups).eval().requires_grad_(False)
    made.weight.mul_(8)  # so that values beyond 6 occur
    made.activation = activation
    return made


def maps(batch: int, seed: int = 1) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 8, 9, 9, generator=random).contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(("groups", "stride"), [(1, 1), (8, 1), (1, 2), (8, 2)])
@pytest.mark.parametrize("with_addition", [False, True])
def test_packed_and_plain_are_the_convolution_the_sum_and_the_activation(
    activation: Activation, groups: int, stride: int, with_addition: bool
) -> None:
    made = convolution(activation, groups, stride)
    given = maps(4)
    with torch.inference_mode():
        truth = functional.conv2d(given, made.weight, made.bias, stride=stride, padding=1, groups=groups)
        added = torch.randn(truth.shape).contiguous(memory_format=torch.channels_last)
        truth = ACTIVATIONS[activation](truth + added if with_addition else truth)  # type: ignore[operator]
        plain = made(given, added.clone() if with_addition else None)
        made.pack(tuple(given.shape))
        packed = made(given, added.clone() if with_addition else None)
    torch.testing.assert_close(plain, truth, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(packed, truth, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("batch", [1, 3, 8])
def test_weights_packed_for_one_batch_serve_any(batch: int) -> None:
    made = convolution("relu")
    with torch.inference_mode():
        truth = made(maps(batch))
        made.pack((4, 8, 9, 9))
        assert made.packed is not None, "this build has the layout, or the test shows nothing"
        torch.testing.assert_close(made(maps(batch)), truth, rtol=1e-5, atol=1e-5)


def test_a_whole_network_is_packed_and_gives_what_it_gave() -> None:
    network = nn.Sequential(convolution("relu6"), nn.MaxPool2d(2), convolution("none")).eval()
    with torch.inference_mode():
        truth = network(maps(4))
        pack_convolutions(network, maps(2))
        torch.testing.assert_close(network(maps(4)), truth, rtol=1e-5, atol=1e-5)
    assert all(module.packed is not None for module in network if isinstance(module, FusedConv2d))


@pytest.mark.parametrize("how", [NotImplementedError, AttributeError])
def test_a_build_without_the_operators_runs_the_plain_ones(
    how: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(self: FusedConv2d, maps: torch.Tensor, added: torch.Tensor | None) -> torch.Tensor:
        raise how("mkldnn::_convolution_pointwise")

    network = nn.Sequential(convolution("relu")).eval()
    with torch.inference_mode():
        truth = network(maps(4))
        monkeypatch.setattr(FusedConv2d, "_fused", missing)
        pack_convolutions(network, maps(2))
        torch.testing.assert_close(network(maps(4)), truth, rtol=0, atol=0)


def test_packing_does_not_change_the_state() -> None:
    made = convolution("relu")
    before = set(made.state_dict())
    made.pack((4, 8, 9, 9))
    assert set(made.state_dict()) == before == {"weight", "bias"}


def test_bfloat16_weights_pack_too() -> None:
    made = convolution("relu").bfloat16()
    given = maps(4).bfloat16()
    with torch.inference_mode():
        truth = functional.relu(
            functional.conv2d(given.float(), made.weight.float(), made.bias.float(), padding=1)
        )
        made.pack(tuple(given.shape))
        # bfloat16 has 8 significant bits, and the result is rounded once.
        torch.testing.assert_close(made(given).float(), truth, rtol=2**-7, atol=2**-7)


def test_where_the_cpu_has_no_bfloat16_the_plain_operations_run(monkeypatch):
    monkeypatch.setattr("kennel.features.fused_conv.cpu_has_bfloat16", lambda: False)
    made = convolution("relu").bfloat16()
    given = maps(2).bfloat16()
    with torch.inference_mode():
        made.pack(tuple(given.shape))
        assert made.packed is None
        assert fused_convolution(given, made.weight, made.bias, 1, 1, 1, "relu") is None
        assert fused_convolution(maps(2), made.weight.float(), made.bias.float(), 1, 1, 1, "relu") is not None
