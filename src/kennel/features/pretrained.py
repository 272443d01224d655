"""The pretrained networks that a discriminator may look through, by the names of their extractors."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from kennel.features.efficientnet_lite import LITE0_WEIGHTS, LITE1_WEIGHTS
from kennel.features.efficientnet_lite_graph import EfficientNetLiteGraph
from kennel.features.mobilenet import MOBILENET_WEIGHTS
from kennel.features.mobilenet_graph import MobileNetGraph
from kennel.features.weights import Published, load_weights


@dataclass(frozen=True)
class Pretrained:
    """A network whose maps are at hand (`taps`, `tap_widths`), its weights, and the scale of its input.

    It was trained on (pixel - `middle`) / 128, pixels from 0 to 255.
    """

    graph: Callable[[], nn.Module]
    published: Published
    middle: float

    @property
    def input_scale(self) -> tuple[float, float]:
        """Factor and offset by which images in [-1, 1] become its input."""
        return 127.5 / 128, (127.5 - self.middle) / 128


GRAPHS = {
    "efficientnet_lite0": Pretrained(lambda: EfficientNetLiteGraph("lite0"), LITE0_WEIGHTS, 127.0),
    "efficientnet_lite1": Pretrained(lambda: EfficientNetLiteGraph("lite1"), LITE1_WEIGHTS, 127.0),
    "mobilenet": Pretrained(MobileNetGraph, MOBILENET_WEIGHTS, 128.0),
}


def pretrained_graph(name: str) -> nn.Module:
    """The network of this name with its published weights; `WeightsError` where they are not at hand."""
    pretrained = GRAPHS[name]
    graph = pretrained.graph()
    graph.load_state_dict(load_weights(pretrained.published, download=False).state)
    return graph
