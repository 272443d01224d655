"""A doubled map under a 3x3 convolution, computed as one transposed convolution."""

import torch
from torch.nn.functional import conv2d, interpolate

from kennel.networks.layers.upsample_conv import UpsampleConv2d


def test_a_doubling_is_the_convolution_of_the_map_with_each_pixel_repeated():
    layer = UpsampleConv2d(3, 5).double()
    maps = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    doubled = interpolate(maps, scale_factor=2, mode="nearest")
    expected = conv2d(doubled, layer.weight, layer.bias, padding=1)
    torch.testing.assert_close(layer(maps), expected, rtol=0, atol=1e-12)
