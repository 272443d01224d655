"""Statistics of the batch (the images of all ranks) as further inputs of the discriminator's head.

They expose a generator that draws similar images.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from kennel.distributed import all_gather, mean_over_ranks, shard_slice, world_size
from kennel.networks.base import BatchStatistic
from kennel.networks.layers.minibatch_stddev import MinibatchStddevLayer
from kennel.shapes import Features
from kennel.techniques._pairwise import pairwise_l1
from kennel.techniques.base import TECHNIQUES, Networks, Technique


@TECHNIQUES.register("minibatch_discrimination")
class MinibatchDiscrimination(Technique):
    """Gives the head each image's closeness to the others of its batch (Salimans et al. 2016, sec. 3.2).

    `kernels` (B) closeness values per image, each measured in `dimensions` (C) projections of the last hidden
    layer. Real and fake batches are processed separately.
    """

    splits_batches: ClassVar[bool] = True

    kernels: PositiveInt = 100
    dimensions: PositiveInt = 5

    def modify_networks(self, networks: Networks, random: torch.Generator) -> None:
        discriminator = networks.discriminator
        closeness = Closeness(discriminator.feature_width, self.kernels, self.dimensions, random)
        discriminator.append_statistic(closeness, random)


class Closeness(BatchStatistic):
    """o_b(x_i) = sum over j != i of exp(-| M_ib - M_jb |_1), M = f T, plus a bias for each kernel.

    T (features, kernels, dimensions) is drawn from N(0, 0.05). Each column is divided by its norm and
    multiplied by the exponential of a learned log scale (weight normalization, Salimans and Kingma 2016).
    Otherwise distances grow with the width of the layer: at 8192 features exp(-distance) and its gradient
    are 0. The first training batch, a real one, initializes scale and bias, as in the authors' code: the mean
    distance to the nearest neighbor is 2, where exp is neither 0 nor 1, and the mean of each output is 0.
    """

    calibrated: Tensor

    def __init__(self, features: int, kernels: int, dimensions: int, random: torch.Generator) -> None:
        super().__init__()
        self.width = kernels
        self.directions = nn.Parameter(torch.empty(features, kernels, dimensions))
        nn.init.normal_(self.directions, 0.0, 0.05, generator=random)
        self.log_scale = nn.Parameter(torch.zeros(kernels, dimensions))
        self.bias = nn.Parameter(torch.full((kernels,), -1.0))
        self.register_buffer("calibrated", torch.zeros((), dtype=torch.bool))
        self._known_calibrated = False

    def forward(self, features: Features) -> Tensor:
        """(batch, kernels), float32 at any precision, for the accuracy of exp(-distance) of close pairs."""
        with torch.autocast(features.device.type, enabled=False):
            exact = features.float()
            if self._needs_calibration(exact):
                self._calibrate(exact.detach())
            # Minus 1 for the distance of each image to itself.
            return (-self.distances(exact)).exp().sum(1).T - 1 + self.bias

    def distances(self, features: Features) -> Tensor:
        """(kernels, batch of all ranks, batch): L1 distances of every pair of images in each kernel."""
        scale = self.log_scale.exp() / torch.linalg.vector_norm(self.directions, dim=0)
        # Scaling projections is cheaper than scaling T, and gathering them cheaper than gathering features.
        projected: Tensor = (features @ self.directions.flatten(1)).view(-1, *scale.shape) * scale
        points = projected.transpose(0, 1)
        if world_size() == 1:
            return pairwise_l1(points)
        return pairwise_l1(all_gather(projected).transpose(0, 1), points)

    def _needs_calibration(self, features: Features) -> bool:
        if self._known_calibrated or not self.training or len(features) * world_size() < 2:
            return False
        # Read from the device once only.
        self._known_calibrated = bool(self.calibrated)
        return not self._known_calibrated

    @torch.no_grad()
    def _calibrate(self, features: Features) -> None:
        images = len(features) * world_size()
        diagonal = torch.eye(images, dtype=torch.bool, device=features.device)[:, shard_slice(images)]
        distances = self.distances(features).masked_fill(diagonal, torch.inf)
        nearest = mean_over_ranks(distances.amin(1).mean(1))
        # Identical images give no scale.
        nearest = torch.where(nearest > 0, nearest, 2.0)
        self.log_scale.sub_((nearest / 2).log()[:, None])
        self.bias.copy_(1 - mean_over_ranks((-self.distances(features)).exp().sum(1).mean(1)))
        self.calibrated.fill_(True)
        self._known_calibrated = True

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], *arguments: Any) -> None:
        super()._load_from_state_dict(state_dict, *arguments)
        self._known_calibrated = False


@TECHNIQUES.register("minibatch_stddev")
class MinibatchStddev(Technique):
    """Gives the head the standard deviation of a group of images (Karras et al. 2018, arXiv 1710.10196).

    One number per image: the standard deviation of every feature over a group of at least `group` images of
    the batch, averaged over the features. Real and fake batches are processed separately.
    """

    splits_batches: ClassVar[bool] = True

    group: int = Field(4, ge=2)

    def modify_networks(self, networks: Networks, random: torch.Generator) -> None:
        networks.discriminator.append_statistic(MinibatchStddevLayer(self.group), random)
