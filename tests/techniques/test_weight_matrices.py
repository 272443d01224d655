"""A weight becomes a matrix with a row for each output, and comes back, in every layout."""

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrize import register_parametrization

from kennel.techniques._weight_matrices import as_matrix, from_matrix, output_axis, weight_matrices

LAYERS = [nn.Linear(5, 3), nn.Conv2d(5, 3, 4), nn.ConvTranspose2d(5, 3, 4), nn.Embedding(3, 5)]
layouts = pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
every_layer = pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: type(layer).__name__)


def laid_out(layer, layout):
    weight = layer.weight.detach().clone()
    return weight.contiguous(memory_format=layout) if weight.dim() == 4 else weight


@layouts
@every_layer
def test_a_row_holds_all_that_feeds_one_output(layer, layout):
    weight, axis = laid_out(layer, layout), output_axis(layer)
    matrix = as_matrix(weight, axis)
    assert matrix.shape == (3, weight.numel() // 3)
    for row in range(3):
        expected = weight.select(axis, row).flatten().sort().values
        assert torch.equal(matrix[row].sort().values, expected)


@layouts
@every_layer
def test_nothing_is_copied_on_the_way_and_the_way_back_is_exact(layer, layout):
    weight, axis = laid_out(layer, layout), output_axis(layer)
    matrix = as_matrix(weight, axis)
    if not (axis == 1 and layout == torch.contiguous_format):  # outputs between the other axes: one copy
        assert matrix.untyped_storage().data_ptr() == weight.untyped_storage().data_ptr()
    assert torch.equal(from_matrix(matrix.contiguous(), weight, axis), weight)


class Doubled(nn.Module):
    def forward(self, weight):
        return 2 * weight


def test_the_parameter_behind_a_reparametrised_weight_is_found_with_its_own_axis():
    network = nn.ModuleDict(
        {"up": nn.ConvTranspose2d(2, 3, 4), "table": nn.Embedding(4, 5), "norm": nn.BatchNorm2d(3)}
    )
    raw = network["up"].weight
    register_parametrization(network["up"], "weight", Doubled())
    register_parametrization(network["table"], "weight", Doubled())
    found = weight_matrices(network, embeddings=True)
    assert [one.matrix().shape for one in found.values()] == [(3, 32), (4, 5)]
    assert next(iter(found.values())).parameter is raw
    assert len(weight_matrices(network, embeddings=False)) == 1
