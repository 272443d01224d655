"""Frozen ImageNet networks for a discriminator to look through: by name, with their published weights."""

from collections.abc import Callable
from pathlib import Path

from kennel.features.efficientnet_lite import EfficientNetLite0, EfficientNetLite1
from kennel.features.efficientnet_lite_graph import EfficientNetLiteGraph
from kennel.features.inverted_residuals import InvertedResidualNetwork
from kennel.features.mobilenet import MobileNet
from kennel.features.mobilenet_graph import MobileNetGraph
from kennel.features.networked import NetworkExtractor
from kennel.features.weights import load_weights
from kennel.registry import unknown_name

_GRAPHS: dict[type[NetworkExtractor], Callable[[], InvertedResidualNetwork]] = {
    EfficientNetLite1: lambda: EfficientNetLiteGraph("lite1"),
    EfficientNetLite0: lambda: EfficientNetLiteGraph("lite0"),
    MobileNet: MobileNetGraph,
}
BACKBONES = tuple(kind.name for kind in _GRAPHS)
"""The names of the networks that have `taps`, that of the paper (Sauer et al. 2021) first."""


def load_backbone(
    name: str, weights: Path | None = None, *, download: bool = True
) -> InvertedResidualNetwork:
    """The network of the extractor `name`, float32 on the CPU, in evaluation, its weights without gradients.

    The weights are found as `kennel.features.weights.load_weights` finds them. Raises `UnknownNameError` for
    a name that is not in `BACKBONES`, and `WeightsError` where weights are not at hand or of another network.
    """
    for kind, graph in _GRAPHS.items():
        if kind.name == name:
            network = graph()
            kind.fill(network, load_weights(kind.published, weights, download))
            return network.eval().requires_grad_(False)
    raise unknown_name("feature network", name, BACKBONES)
