"""Feeding a class to a network that was made without classes."""

import torch
from torch import Tensor, nn

from kennel.networks.base import NetworkSpec
from kennel.shapes import Labels


class ClassBias(nn.Embedding):
    """What a one-hot label beside a layer's input adds to the layer's output: a bias for each class.

    Mirza and Osindero 2014 (arXiv 1411.1784) give the label to both players as further input. Multiplied by
    the layer's weights, a one-hot input picks one column of them; this is that column. Beside a convolution
    it is a constant plane of the label, but for what the padding hides of it at the border.
    """

    def __init__(self, spec: NetworkSpec, beside: nn.Linear | nn.Conv2d) -> None:
        """A column for each class of `setting`, as wide as the outputs of the layer `beside`."""
        fan_in, width = beside.weight[0].numel(), beside.weight.shape[0]
        self._bound = (fan_in + spec.num_classes) ** -0.5
        super().__init__(spec.num_classes, width)

    def reset_parameters(self) -> None:
        """Drawn as the layer draws the rest of its weights."""
        nn.init.uniform_(self.weight, -self._bound, self._bound)

    def forward(self, labels: Labels | None) -> Tensor:
        """(batch, width): each label's bias."""
        if labels is None:
            raise ValueError(f"this network was built for {self.num_embeddings} classes: give it labels")
        bias: Tensor = torch.nn.functional.embedding(labels, self.weight)
        return bias
