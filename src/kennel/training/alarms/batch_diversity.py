"""How much the images of a batch differ from one another, against how much real ones do."""

import torch

from kennel.shapes import Images, Scalar

BLOCK = 4096
"""Images whose distances to all others are held at once."""


@torch.no_grad()
def nearest_distance(images: Images) -> Scalar:
    """The mean Euclidean distance of each image's pixels to those of its nearest other in the batch."""
    flat = images.float().flatten(1)
    nearest = []
    for start in range(0, len(flat), BLOCK):
        distances = torch.cdist(flat[start : start + BLOCK], flat)
        distances.diagonal(start).fill_(torch.inf)
        nearest.append(distances.min(1).values)
    return torch.cat(nearest).mean()
