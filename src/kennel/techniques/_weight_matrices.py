"""A layer's weight as a matrix, a row for each output, whatever the layer and its layout in memory."""

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.utils.parametrize import ParametrizationList

LAYERS = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d, nn.Embedding)
"""Layers whose `weight` is a matrix; an embedding's rows are its entries."""


def output_axis(layer: nn.Module) -> int:
    """The axis of the layer's weight that counts its outputs: transposed convolutions have it second."""
    return 1 if isinstance(layer, nn.ConvTranspose2d) else 0


def as_matrix(weight: Tensor, axis: int = 0) -> Tensor:
    """The weight flattened to (outputs, all the rest), outputs being those along `axis`.

    The columns come in the order of the memory, so that nothing is copied, contiguous or channels last.
    Singular values and products of rows do not depend on that order.
    """
    return weight.permute(_order(weight, axis)).flatten(1)


def from_matrix(matrix: Tensor, like: Tensor, axis: int = 0) -> Tensor:
    """The inverse of `as_matrix(like, axis)`: a matrix of that shape, as a weight of the shape of `like`."""
    order = _order(like, axis)
    unflattened = matrix.reshape([like.shape[place] for place in order])
    return unflattened.permute([order.index(place) for place in range(like.dim())])


def _order(weight: Tensor, axis: int) -> list[int]:
    others = [place for place in range(weight.dim()) if place != axis]
    return [axis, *sorted(others, key=lambda place: -weight.stride()[place])]


@dataclass(frozen=True)
class WeightMatrix:
    """A layer's weight, and which of its axes counts the outputs."""

    parameter: nn.Parameter
    axis: int

    def matrix(self) -> Tensor:
        """(outputs, all the rest), attached to the parameter."""
        return as_matrix(self.parameter, self.axis)


def weight_matrices(network: nn.Module, *, embeddings: bool) -> dict[str, WeightMatrix]:
    """The weight of every layer, by its name; with `embeddings` False not those of embeddings.

    Of a reparametrised layer it is the parameter behind the weight, which is what an optimizer moves.
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
