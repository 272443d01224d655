"""Attention is what SAGAN's released code computes, written out one position at a time."""

import torch
from torch import nn
from torch.testing import assert_close

from kennel.networks.layers.attention import NonLocalBlock


def drawn(width=16, gamma=0.7):
    torch.manual_seed(0)
    block = NonLocalBlock(width)
    for parameter in block.parameters():
        nn.init.normal_(parameter)
    nn.init.constant_(block.gamma, gamma)
    return block


def convolved(layer, image):
    """A 1x1 convolution of one image (channels, height, width)."""
    return torch.einsum("oc,chw->ohw", layer.weight[:, :, 0, 0], image)


def pooled(image):
    """The largest of each 2x2 square."""
    _, height, width = image.shape
    squares = [
        [image[:, row : row + 2, column : column + 2].amax((1, 2)) for column in range(0, width, 2)]
        for row in range(0, height, 2)
    ]
    return torch.stack([torch.stack(row, 1) for row in squares], 1)


def test_every_position_adds_the_mean_of_values_weighted_by_how_its_query_fits_the_keys():
    block = drawn()
    images = torch.randn(2, 16, 4, 6)
    found = block(images)
    for image, seen in zip(images, found, strict=True):
        queries = convolved(block.theta, image)
        keys, values = pooled(convolved(block.phi, image)), pooled(convolved(block.g, image))
        assert (queries.shape[0], keys.shape, values.shape) == (2, (2, 2, 3), (8, 2, 3))
        for row in range(4):
            for column in range(6):
                scores = torch.einsum("c,chw->hw", queries[:, row, column], keys)
                weights = (scores - scores.max()).exp()
                mean = torch.einsum("hw,chw->c", weights / weights.sum(), values)
                expected = image[:, row, column] + 0.7 * (block.output.weight[:, :, 0, 0] @ mean)
                assert_close(seen[:, row, column], expected, rtol=1e-4, atol=1e-4)


def test_a_new_block_is_the_identity_and_has_no_bias():
    images = torch.randn(2, 16, 4, 4)
    block = NonLocalBlock(16)
    assert torch.equal(block(images), images)
    assert dict(block.named_parameters()).keys() == {
        "gamma",
        "theta.weight",
        "phi.weight",
        "g.weight",
        "output.weight",
    }


def test_the_gradient_can_be_differentiated_again():
    block, images = drawn().double(), torch.randn(1, 16, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(block, images, atol=1e-4)


def test_the_layout_of_memory_changes_nothing():
    block, images = drawn(), torch.randn(2, 16, 4, 4)
    assert_close(block(images.to(memory_format=torch.channels_last)), block(images))


def test_very_narrow_maps_still_have_a_query_a_key_and_a_value():
    assert drawn(1)(torch.randn(2, 1, 4, 4)).shape == (2, 1, 4, 4)
