"""The distance between images by pixels and features, differentiable with respect to the images."""

from typing import NamedTuple

import torch
from torch.nn.functional import normalize

from kennel.networks.pretrained import FixedName, FixedNetwork
from kennel.shapes import Distances, Images, Maps

NETWORK: FixedName = "efficientnet_lite0"
"""Installed with kennel, and not the network of projected discriminators by default."""
LEAST_SIDE, MOST_SIDE, STRIDE = 64, 224, 32


class Parts(NamedTuple):
    """Distances per image: by pixels and by features."""

    pixels: Distances
    features: Distances

    @property
    def total(self) -> Distances:
        return self.pixels + self.features


class ImageDistance:
    """The distance of images (batch, channels, height, width) in [-1, 1] from one target.

    - Pixels: the mean squared difference.
    - Features: the mean squared distance between the maps of EfficientNet-Lite0 at four resolutions, each
      normalized to length 1 per position (LPIPS without learned weights; Zhang et al. 2018, arXiv 1801.03924,
      equation 1); from 0 to 4, since vectors of length 1 are at most 2 apart.

    Raises `WeightsError` if the network's weights are not installed.
    """

    def __init__(self, target: Images) -> None:
        """`target` is (1, channels, height, width), on the device of the images."""
        self._target = target
        self._network = FixedNetwork(NETWORK).to(target.device)
        side = -(-max(target.shape[2:]) // STRIDE) * STRIDE
        self._side = min(max(side, LEAST_SIDE), MOST_SIDE)
        with torch.no_grad():
            self._maps = self._features(target)

    def __call__(self, images: Images) -> Parts:
        pixels = (images - self._target).square().flatten(1).mean(1)
        maps = self._features(images)
        squares = [
            (one - other).square().sum(1).mean((1, 2)) for one, other in zip(maps, self._maps, strict=True)
        ]
        return Parts(pixels, torch.stack(squares).mean(0))

    def _features(self, images: Images) -> list[Maps]:
        return [normalize(maps, dim=1) for maps in self._network(images, self._side)]
