from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from kennel.errors import WeightsError
from kennel.features.factory import open_extractor
from kennel.features.mobilenet import MOBILENET_WEIGHTS, MobileNet
from kennel.features.tflite import mobilenet_from_tflite


def test_features_and_logits_are_those_of_the_reference(shared_weights: Path) -> None:
    golden = np.load(shared_weights / "mobilenet_v2_reference.npz")
    extractor = open_extractor("mobilenet", shared_weights / "mobilenet_v2_imagenet.safetensors")
    extracted = extractor.extract(torch.from_numpy(golden["images"]).permute(0, 3, 1, 2))
    np.testing.assert_allclose(extracted.features.numpy(), golden["features"], atol=1e-3)
    assert extracted.logits is not None
    np.testing.assert_allclose(extracted.logits.numpy(), golden["logits"], atol=1e-3)
    assert extracted.features.shape[1] == extractor.dimension


def test_the_batch_size_changes_no_feature(shared_weights: Path) -> None:
    extractor = open_extractor("mobilenet", shared_weights / "mobilenet_v2_imagenet.safetensors")
    pixels = torch.randint(0, 256, (9, 3, 24, 24), dtype=torch.uint8)
    together = extractor.extract(pixels).features
    apart = torch.cat([extractor.extract(image[None]).features for image in pixels])
    torch.testing.assert_close(apart, together, rtol=1e-4, atol=1e-4)


def test_the_converted_tflite_file_equals_the_safetensors_bit_for_bit(shared_weights: Path) -> None:
    converted = mobilenet_from_tflite((shared_weights / MOBILENET_WEIGHTS.names[0]).read_bytes())
    expected = load_file(shared_weights / "mobilenet_v2_imagenet.safetensors")
    assert converted.keys() == expected.keys()
    for name, tensor in expected.items():
        assert converted[name].shape == tensor.shape
        assert converted[name].tobytes() == tensor.tobytes(), name


def test_either_file_is_recognised_as_the_published_weights(shared_weights: Path) -> None:
    for name in (MOBILENET_WEIGHTS.stored, MOBILENET_WEIGHTS.names[0]):
        assert open_extractor("mobilenet", shared_weights / name).weights_digest == MOBILENET_WEIGHTS.sha256


def test_bfloat16_stays_near_float32(shared_weights: Path) -> None:
    weights = shared_weights / "mobilenet_v2_imagenet.safetensors"
    pixels = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    exact = MobileNet.open(weights).extract(pixels).features
    fast = MobileNet.open(weights, precision="bfloat16").extract(pixels).features
    assert fast.dtype == torch.float32
    assert float((fast - exact).norm() / exact.norm()) < 0.1


@pytest.mark.parametrize("data", [b"", b"no flatbuffer at all" * 20, b"\x10\0\0\0" + b"\0" * 64])
def test_bytes_that_are_no_such_model_are_refused(data: bytes) -> None:
    with pytest.raises(WeightsError, match="not the published"):
        mobilenet_from_tflite(data)
