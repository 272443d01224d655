"""Batches with instance labels: each image gets one of its nearest training images, drawn again each time."""

import torch
from jaxtyping import Int
from torch import Tensor

from kennel import rng
from kennel.data.loader import BatchLoader
from kennel.shapes import Labels, Pixels

Neighbors = Int[Tensor, "images count"]


class InstanceBatches:
    """Batches with an instance for each image instead of its class, drawn by (seed, images seen)."""

    def __init__(self, stream: BatchLoader, neighbors: Neighbors, seed: int) -> None:
        """`neighbors` (images, count): the instances to draw from for each image of the set."""
        self._stream, self._seed = stream, seed
        self._neighbors = neighbors.to(stream.device if stream.is_resident else "cpu")

    def at(self, images_seen: int) -> tuple[Pixels, Labels]:
        """uint8 pixels (batch, C, H, W), int64 instances (batch,) on the device; see `BatchLoader.at`."""
        stream = self._stream
        pixels, _ = stream.at(images_seen)
        random = rng.generator(self._seed, "instances", images_seen)
        count = self._neighbors.shape[1]
        drawn = torch.randint(count, (stream.batch,), generator=random)[stream.rows]
        rows = self._neighbors.index_select(0, stream.indices(images_seen))
        chosen = rows.gather(1, drawn.to(rows.device)[:, None])[:, 0]
        return pixels, chosen.long().to(pixels.device)
