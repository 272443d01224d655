"""Measures how much the images of a batch differ from one another."""

import torch

from kennel.shapes import Images, Scalar

BLOCK = 4096
"""Rows of the distance matrix that are in memory at a time."""


@torch.no_grad()
def nearest_distance(images: Images) -> Scalar:
    """The mean Euclidean distance, over pixels, of each image to its nearest other image in the batch."""
    flat = images.float().flatten(1)
    nearest = []
    for start in range(0, len(flat), BLOCK):
        distances = torch.cdist(flat[start : start + BLOCK], flat)
        distances.diagonal(start).fill_(torch.inf)
        nearest.append(distances.min(1).values)
    return torch.cat(nearest).mean()
