"""Skip-layer excitation (FastGAN: Liu et al. 2021, arXiv 2101.04775, section 3.1, equation 1).

A coarse map gates the channels of a finer one, across two or more doublings. The gradient has a short way
from the fine layers to the coarse ones, and what the coarse map says of the image as a whole (its style)
reaches the fine ones at once.
"""

from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from kennel.networks.layers.conv import Convolution

POOLED = 4
"""The side to which the coarse map is pooled."""


class SkipExcitation(nn.Module):
    """`fine * sigmoid(conv1x1(silu(conv4x4(pool(coarse)))))`: one gate a channel, for each image."""

    def __init__(self, coarse: int, fine: int) -> None:
        """Between maps of these channels."""
        super().__init__()
        self.layers = nn.Sequential(
            Convolution(coarse, fine, POOLED), nn.SiLU(), Convolution(fine, fine, 1), nn.Sigmoid()
        )

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """(batch, channels, side, side) of the fine map to the same."""
        pooled = coarse if coarse.shape[-1] == POOLED else adaptive_avg_pool2d(coarse, POOLED)
        gated: Tensor = fine * self.layers(pooled)
        return gated
