"""Labels as further input of a layer."""

from torch import Tensor, nn

from kennel.networks.base import NetworkSpec
from kennel.networks.layers.normalization import required_labels
from kennel.shapes import Labels


class ClassBias(nn.Embedding):
    """A bias per class: the effect of a one-hot label as further input of a layer.

    Mirza and Osindero 2014 (arXiv 1411.1784) give both networks the label as further input. A one-hot input
    selects a column of the layer's weights, which is this bias. For a convolution it corresponds to constant
    planes, except for the padding at the border.
    """

    def __init__(self, spec: NetworkSpec, layer: nn.Linear | nn.Conv2d) -> None:
        fan_in, width = layer.weight[0].numel(), layer.weight.shape[0]
        self._bound = (fan_in + spec.num_classes) ** -0.5
        super().__init__(spec.num_classes, width)

    def reset_parameters(self) -> None:
        nn.init.uniform_(self.weight, -self._bound, self._bound)

    def forward(self, labels: Labels | None) -> Tensor:
        bias: Tensor = nn.functional.embedding(required_labels(labels, self.num_embeddings), self.weight)
        return bias
