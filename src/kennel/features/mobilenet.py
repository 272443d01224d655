"""The `mobilenet` extractor: ImageNet features at a tenth of Inception's cost."""

from pathlib import Path

import torch
from torch import nn

from kennel.features.base import EXTRACTORS
from kennel.features.mobilenet_network import INPUT_SIDE, MobileNetGraph
from kennel.features.network_extractor import NetworkExtractor
from kennel.features.tflite import mobilenet_from_tflite
from kennel.features.weights import Published, State

COMMIT = "104342d2d3480b3e66203073dac24f4e2dbb4c41"


def _read_tflite(path: Path) -> State:
    return {name: torch.from_numpy(array) for name, array in mobilenet_from_tflite(path.read_bytes()).items()}


MOBILENET_WEIGHTS = Published(
    what="MobileNetV2",
    address=(
        f"https://raw.githubusercontent.com/google-coral/test_data/{COMMIT}/mobilenet_v2_1.0_224_quant.tflite"
    ),
    sha256="7aad0c74c5e3c06e5eb3c827e13304fdd68a83da6087d92ee169c24ff9fd4776",
    names=("mobilenet_v2_1.0_224_quant.tflite",),
    stored="mobilenet_v2_imagenet.safetensors",
    read=_read_tflite,
    metadata={
        "source": f"github.com/google-coral/test_data commit {COMMIT}, mobilenet_v2_1.0_224_quant.tflite",
        "licence": "Apache-2.0",
        "note": "8-bit weights dequantised as (code - zero_point) * scale, batch norm folded",
        "input": "RGB uint8 224x224, x = (uint8 - 128) / 128, NCHW",
    },
    tensors_sha256="3d8ee280b866404e2ce6f979eb15d434d7c91161fb2cd6348d0e00487ffc05b5",
)


@EXTRACTORS.register("mobilenet")
class MobileNet(NetworkExtractor):
    """MobileNetV2 1.0 224 trained on ImageNet: mean-pooled features (1280) and 1001 logits. Published scores
    do not use it, so its scores are comparable with its own only. It detects blur, noise and other content at
    little cost on any machine."""

    name = "mobilenet"
    dimension = 1280
    side = INPUT_SIDE
    protocol = "pytorch"
    logits = "1001 logits (background and the ImageNet classes)"
    published = MOBILENET_WEIGHTS

    def graph(self) -> nn.Module:
        return MobileNetGraph()
