from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from kennel.errors import UnknownNameError, WeightsError
from kennel.features.backbones import BACKBONES, load_backbone
from kennel.features.efficientnet_lite import LITE0_WEIGHTS, LITE1_WEIGHTS
from kennel.features.mobilenet_graph import MobileNetGraph
from kennel.features.weights import tensors_digest, weights_folder


@pytest.mark.parametrize("published", [LITE0_WEIGHTS, LITE1_WEIGHTS], ids=lambda one: one.what)
def test_the_installed_packages_weights_are_converted_once_under_the_pinned_digest(published) -> None:
    name = f"efficientnet_{published.what[-5:].lower()}"
    first = load_backbone(name).state_dict()
    stored = weights_folder() / published.stored
    assert tensors_digest(load_file(stored)) == published.tensors_sha256 == tensors_digest(first)
    before = stored.stat().st_mtime_ns
    second = load_backbone(name).state_dict()
    assert stored.stat().st_mtime_ns == before
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_backbone_is_frozen_and_in_evaluation(tmp_path: Path) -> None:
    save_file(MobileNetGraph().state_dict(), tmp_path / "mobilenet.safetensors")
    network = load_backbone("mobilenet", tmp_path / "mobilenet.safetensors")
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_other_weights_and_other_names_are_refused(tmp_path: Path) -> None:
    assert BACKBONES == ("efficientnet_lite1", "efficientnet_lite0", "mobilenet")
    save_file(MobileNetGraph().state_dict(), tmp_path / "mobilenet.safetensors")
    with pytest.raises(WeightsError, match="not of that network"):
        load_backbone("efficientnet_lite1", tmp_path / "mobilenet.safetensors")
    with pytest.raises(UnknownNameError, match="did you mean 'efficientnet_lite0' or 'efficientnet_lite1'"):
        load_backbone("efficientnet_lite2")
