"""The weight of a layer as a matrix with a row per output, for any layer and memory layout."""

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.utils.parametrize import ParametrizationList

LAYERS = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d, nn.Embedding)
"""Layers with a weight matrix; the rows of an embedding are its entries."""


def output_axis(layer: nn.Module) -> int:
    """The axis of outputs in the layer's weight: 1 for transposed convolutions, 0 for others."""
    return 1 if isinstance(layer, nn.ConvTranspose2d) else 0


def as_matrix(weight: Tensor, axis: int = 0) -> Tensor:
    """Flattens the weight to (outputs, rest); `axis` is the axis of outputs.

    Columns are in memory order, so that nothing is copied, contiguous or channels last. Singular values and
    products of rows do not depend on the order.
    """
    return weight.permute(_order(weight, axis)).flatten(1)


def from_matrix(matrix: Tensor, like: Tensor, axis: int = 0) -> Tensor:
    """The inverse of `as_matrix(like, axis)`: reshapes `matrix` to the shape of `like`."""
    order = _order(like, axis)
    unflattened = matrix.reshape([like.shape[place] for place in order])
    return unflattened.permute([order.index(place) for place in range(like.dim())])


def _order(weight: Tensor, axis: int) -> list[int]:
    others = [place for place in range(weight.dim()) if place != axis]
    return [axis, *sorted(others, key=lambda place: -weight.stride()[place])]


@dataclass(frozen=True)
class WeightMatrix:
    """A layer's weight and its axis of outputs."""

    parameter: nn.Parameter
    axis: int

    def matrix(self) -> Tensor:
        return as_matrix(self.parameter, self.axis)


def weight_matrices(network: nn.Module, *, embeddings: bool) -> dict[str, WeightMatrix]:
    """The weight of every layer by name; `embeddings` includes those of embeddings.

    For a reparametrized layer it is the original parameter, which the optimizer updates.
    """
    found = {}
    for name, module in network.named_modules():
        layer = module
        if isinstance(module, ParametrizationList):
            layer = network.get_submodule(name.rpartition(".parametrizations.")[0])
        if isinstance(layer, nn.Embedding) and not embeddings:
            continue
        for own_name, parameter in module.named_parameters(recurse=False):
            if isinstance(layer, LAYERS) and parameter.dim() > 1:
                full_name = f"{name}.{own_name}".removeprefix(".")
                found[full_name] = WeightMatrix(parameter, output_axis(layer))
    return found
