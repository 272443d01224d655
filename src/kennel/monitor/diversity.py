"""How much the images of a batch differ from one another, against how much real ones do."""

import torch

from kennel.shapes import Images, Scalar


@torch.no_grad()
def nearest_distance(images: Images) -> Scalar:
    """The mean Euclidean distance of each image's pixels to those of its nearest other in the batch."""
    flat = images.float().flatten(1)
    distances = torch.cdist(flat, flat)
    distances.fill_diagonal_(torch.inf)
    return distances.min(1).values.mean()
