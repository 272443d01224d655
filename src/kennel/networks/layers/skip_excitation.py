"""Skip-layer excitation (FastGAN: Liu et al. 2021, arXiv 2101.04775, section 3.1, equation 1).

A coarse map gates the channels of a finer one, across two or more doublings. It shortens the gradient's path
to the coarse layers, and gives the fine layers global information (the style of the image).
"""

from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from kennel.networks.layers.conv import Convolution

POOLED = 4
"""The side of the pooled coarse map."""


class SkipExcitation(nn.Module):
    """`fine * sigmoid(conv1x1(silu(conv4x4(pool(coarse)))))`: one gate per channel and image."""

    def __init__(self, coarse: int, fine: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            Convolution(coarse, fine, POOLED), nn.SiLU(), Convolution(fine, fine, 1), nn.Sigmoid()
        )

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        pooled = coarse if coarse.shape[-1] == POOLED else adaptive_avg_pool2d(coarse, POOLED)
        gated: Tensor = fine * self.layers(pooled)
        return gated
