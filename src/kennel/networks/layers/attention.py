"""Self-attention over feature maps (SAGAN: Zhang et al. 2018, arXiv 1805.08318).

As in SAGAN's released code, which differs from the paper's section 3: keys and values are max-pooled, and the
values have half the channels, with a convolution after the sum.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d

from kennel.networks.layers.conv import Convolution


class NonLocalBlock(nn.Module):
    """Adds to every position a weighted mean over all positions.

        images + gamma * output(softmax over positions j (theta_i . phi_j) g_j)

    theta and phi map C channels to C/8, g to C/2, output C/2 to C: all 1x1 convolutions without bias. phi and
    g are max-pooled 2x2, so that each position attends to a quarter of the positions. gamma starts at 0, so
    that the block starts as the identity.
    """

    def __init__(self, width: int) -> None:
        """For maps with `width` channels; query and key have at least one channel."""
        super().__init__()
        narrow, half = max(1, width // 8), max(1, width // 2)
        self.theta = Convolution(width, narrow, 1, bias=False)
        self.phi = Convolution(width, narrow, 1, bias=False)
        self.g = Convolution(width, half, 1, bias=False)
        self.output = Convolution(half, width, 1, bias=False)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, images: Tensor) -> Tensor:
        queries = self.theta(images).flatten(2).transpose(1, 2)  # batch, positions, C/8
        keys = max_pool2d(self.phi(images), 2).flatten(2)  # batch, C/8, positions/4
        values = max_pool2d(self.g(images), 2).flatten(2).transpose(1, 2)  # batch, positions/4, C/2
        # Written out, as a gradient penalty needs second derivatives, which the fused kernels lack.
        weights = torch.softmax(queries @ keys, 2).to(values.dtype)
        attended = torch.unflatten(
            (weights @ values).transpose(1, 2), 2, images.shape[2:]
        )  # batch, C/2, sides
        return torch.addcmul(images, self.gamma.to(images.dtype), self.output(attended).to(images.dtype))
