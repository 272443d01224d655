"""The standard deviation of a group of images (Karras et al. 2018, arXiv 1710.10196, section 3)."""

import torch
from torch import Tensor

from kennel.distributed import all_reduce_sum, shard_slice, world_size
from kennel.networks.base import BatchStatistic
from kennel.shapes import Features


class MinibatchStddevLayer(BatchStatistic):
    """The standard deviation over a group, averaged over features: (batch, features) to (batch, 1).

    Image i is in group i modulo the number of groups. If the batch does not divide evenly, some groups have
    one image more; a batch smaller than a group is one group.
    """

    width = 1

    def __init__(self, group: int) -> None:
        super().__init__()
        self.group = group

    def forward(self, features: Features) -> Tensor:
        with torch.autocast(features.device.type, enabled=False):
            exact = features.float()
            images = len(features) * world_size()
            groups = max(1, images // self.group)
            group_of = torch.arange(images, device=features.device) % groups
            membership = torch.nn.functional.one_hot(group_of, groups).to(exact.dtype)  # batch, groups
            own = membership[shard_slice(images)]
            weights = own / membership.sum(0)
            deviations = exact - own @ all_reduce_sum(weights.T @ exact)
            # Without the constant, the root's gradient would be infinite for equal images.
            stddevs = (all_reduce_sum(weights.T @ deviations.square()) + 1e-8).sqrt()  # groups, features
            return own @ stddevs.mean(1, keepdim=True)
