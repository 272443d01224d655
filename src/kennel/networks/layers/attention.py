"""Self-attention over feature maps (SAGAN: Zhang et al. 2018, arXiv 1805.08318).

As SAGAN's released code has it, which differs from the paper's section 3: keys and values are max-pooled, and
the values are half as wide as the maps, with a convolution after the sum.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d

from kennel.networks.layers.conv import Convolution


class NonLocalBlock(nn.Module):
    """Every position sees a weighted mean of all others, by how well its query fits their keys.

        images + gamma * output(softmax over positions j (theta_i . phi_j) g_j)

    theta and phi map C channels to C/8, g to C/2, output C/2 to C: all 1x1 convolutions without bias. phi and
    g are max-pooled 2x2, so that height * width positions attend to a quarter as many. gamma begins at 0, and
    with it the block begins as the identity.
    """

    def __init__(self, width: int) -> None:
        """Of maps with `width` channels; with fewer than 8 there is still one for each query and key."""
        super().__init__()
        narrow, half = max(1, width // 8), max(1, width // 2)
        self.theta = Convolution(width, narrow, 1, bias=False)
        self.phi = Convolution(width, narrow, 1, bias=False)
        self.g = Convolution(width, half, 1, bias=False)
        self.output = Convolution(half, width, 1, bias=False)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, images: Tensor) -> Tensor:
        """Feature maps (batch, channels, height, width), of even sides, to the same."""
        queries = self.theta(images).flatten(2).transpose(1, 2)  # batch, positions, C/8
        keys = max_pool2d(self.phi(images), 2).flatten(2)  # batch, C/8, positions/4
        values = max_pool2d(self.g(images), 2).flatten(2).transpose(1, 2)  # batch, positions/4, C/2
        # Written out: a gradient penalty differentiates this twice, which the fused kernels cannot.
        weights = torch.softmax(queries @ keys, 2).to(values.dtype)
        seen = torch.unflatten((weights @ values).transpose(1, 2), 2, images.shape[2:])  # batch, C/2, sides
        return torch.addcmul(images, self.gamma.to(images.dtype), self.output(seen).to(images.dtype))
