import pytest
import torch
from safetensors.torch import load_file

from kennel.errors import WeightsError
from kennel.features.efficientnet_lite import LITE0_WEIGHTS, LITE1_WEIGHTS
from kennel.features.pretrained import GRAPHS, pretrained_graph
from kennel.features.weights import tensors_digest, weights_folder


@pytest.mark.parametrize("published", [LITE0_WEIGHTS, LITE1_WEIGHTS], ids=lambda one: one.what)
def test_the_installed_packages_weights_are_converted_once_under_the_pinned_digest(published) -> None:
    name = f"efficientnet_{published.what[-5:].lower()}"
    first = pretrained_graph(name).state_dict()
    stored = weights_folder() / published.stored
    assert tensors_digest(load_file(stored)) == published.tensors_sha256 == tensors_digest(first)
    before = stored.stat().st_mtime_ns
    second = pretrained_graph(name).state_dict()
    assert stored.stat().st_mtime_ns == before
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_weights_that_are_not_at_hand_are_asked_for_and_not_downloaded() -> None:
    with pytest.raises(WeightsError, match="MobileNetV2 weights are missing"):
        pretrained_graph("mobilenet")


@pytest.mark.parametrize("name", sorted(GRAPHS))
def test_images_in_minus_1_to_1_become_the_input_that_the_extractor_makes_of_their_bytes(name: str) -> None:
    codes = torch.arange(256.0).view(1, 1, 16, 16)
    middle, divisor = GRAPHS[name].extractor.scaling("clean")
    factor, offset = GRAPHS[name].input_scale
    torch.testing.assert_close(
        (codes / 127.5 - 1) * factor + offset, (codes - middle) / divisor, rtol=0, atol=1e-6
    )
    assert GRAPHS[name].extractor.name == name
