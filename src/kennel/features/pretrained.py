"""The frozen pretrained networks for discriminators, by the names of their extractors."""

from collections.abc import Callable
from dataclasses import dataclass

from kennel.features.efficientnet_lite import EfficientNetLite0, EfficientNetLite1
from kennel.features.efficientnet_lite_network import EfficientNetLiteGraph
from kennel.features.inverted_residuals import InvertedResidualNetwork
from kennel.features.mobilenet import MobileNet
from kennel.features.mobilenet_network import MobileNetGraph
from kennel.features.network_extractor import NetworkExtractor
from kennel.features.weights import load_weights


@dataclass(frozen=True)
class Pretrained:
    """A network with `taps` and `tap_widths`, and the extractor that has its weights."""

    graph: Callable[[], InvertedResidualNetwork]
    extractor: type[NetworkExtractor]
    input_scale: tuple[float, float]  # Factor and offset that map images in [-1, 1] to its input


# The first is that of the paper (Sauer et al. 2021).
GRAPHS = {
    "efficientnet_lite1": Pretrained(
        lambda: EfficientNetLiteGraph("lite1"), EfficientNetLite1, EfficientNetLiteGraph.input_scale()
    ),
    "efficientnet_lite0": Pretrained(
        lambda: EfficientNetLiteGraph("lite0"), EfficientNetLite0, EfficientNetLiteGraph.input_scale()
    ),
    "mobilenet": Pretrained(MobileNetGraph, MobileNet, MobileNetGraph.input_scale()),
}


def pretrained_graph(name: str) -> InvertedResidualNetwork:
    """The network of this name with its published weights; raises `WeightsError` if they are not found."""
    pretrained = GRAPHS[name]
    graph = pretrained.graph()
    pretrained.extractor.fill(graph, load_weights(pretrained.extractor.published, download=False))
    return graph
