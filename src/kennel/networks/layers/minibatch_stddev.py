"""How much the images of a group differ (Karras et al. 2018, arXiv 1710.10196, section 3)."""

import torch
from torch import Tensor

from kennel.distributed import all_reduce_sum, shard_slice, world_size
from kennel.networks.base import BatchStatistic
from kennel.shapes import Features


class MinibatchStddevLayer(BatchStatistic):
    """The standard deviation over a group, averaged over features: (batch, features) to (batch, 1).

    Image i is in group i modulo the number of groups. Where the batch does not divide evenly some groups have
    one image more; a batch smaller than a group is one group.
    """

    width = 1

    def __init__(self, group: int) -> None:
        """Of groups of at least `group` images."""
        super().__init__()
        self.group = group

    def forward(self, features: Features) -> Tensor:
        """The same number for each image of a group."""
        with torch.autocast(features.device.type, enabled=False):
            exact = features.float()
            images = len(features) * world_size()
            groups = max(1, images // self.group)
            member = torch.arange(images, device=features.device) % groups
            everyone = torch.nn.functional.one_hot(member, groups).to(exact.dtype)  # batch, groups
            belongs = everyone[shard_slice(images)]
            shares = belongs / everyone.sum(0)
            apart = exact - belongs @ all_reduce_sum(shares.T @ exact)
            # Equal images have no variance, where the root's gradient would be infinite.
            deviations = (all_reduce_sum(shares.T @ apart.square()) + 1e-8).sqrt()  # groups, features
            return belongs @ deviations.mean(1, keepdim=True)
