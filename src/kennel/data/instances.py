"""Batches with instance labels: each image gets one of its nearest training images, drawn again each time."""

import torch
from jaxtyping import Int
from torch import Tensor

from kennel import rng
from kennel.data.loader import BatchLoader
from kennel.shapes import Labels, Pixels

Neighbors = Int[Tensor, "images count"]


class InstanceBatches:
    """The batches of a stream, with an instance for each image instead of its class.

    Draws depend only on the seed and the number of images seen, as in the stream.
    """

    def __init__(self, stream: BatchLoader, neighbors: Neighbors, seed: int) -> None:
        """`neighbors` (images, count): the instances to draw from for each image of the set."""
        self._stream, self._seed = stream, seed
        self._neighbors = neighbors.to(stream.device if stream.is_resident else "cpu")

    def at(self, images_seen: int) -> tuple[Pixels, Labels]:
        """This process's rows of the batch after `images_seen` images, and their instances, on the device.

        Pixels are uint8 (batch, C, H, W), labels int64 (batch,).
        """
        stream = self._stream
        pixels, _ = stream.at(images_seen)
        random = rng.generator(self._seed, "instances", images_seen)
        count = self._neighbors.shape[1]
        drawn = torch.randint(count, (stream.batch,), generator=random)[stream.rows]
        rows = self._neighbors.index_select(0, stream.indices(images_seen))
        chosen = rows.gather(1, drawn.to(rows.device)[:, None])[:, 0]
        return pixels, chosen.long().to(pixels.device)
