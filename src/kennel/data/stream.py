"""The endless stream of batches: a pure function of how many images have been shown.

Nothing about the stream has to be saved: a run that resumes asks for the batch at its own position.
"""

from collections import OrderedDict

import numpy as np
import torch

from kennel import randomness
from kennel.data.packed import PackedSet
from kennel.shapes import Labels, Pixels

RESIDENT_BYTES = 4 << 30
"""A set up to this size lives on the device; a larger one is read from the memory map, batch by batch."""


class Stream:
    """Batches of a packed set, each epoch in a fresh order, drawn from (seed, epoch).

    A batch that runs over an epoch's end takes its rest from the next epoch, so that every image is shown
    once an epoch whatever the batch size.
    """

    def __init__(
        self,
        packed: PackedSet,
        batch: int,
        seed: int,
        device: torch.device,
        resident_bytes: int = RESIDENT_BYTES,
        *,
        rows: slice = slice(None),
    ) -> None:
        """Opens the stream; a set of at most `resident_bytes` is copied to `device` now.

        `rows` are those of each batch that this process trains on: `batch` and the positions are the whole
        training's.
        """
        self.packed, self.rows = packed, rows
        self.batch = batch
        self.seed = seed
        self.device = device
        self._orders: OrderedDict[int, torch.Tensor] = OrderedDict()
        self._labels = None
        if packed.labels is not None:
            self._labels = torch.from_numpy(np.array(packed.labels)).to(device)
        self._resident: torch.Tensor | None = None
        if packed.images.nbytes <= resident_bytes:
            self._resident = torch.from_numpy(np.array(packed.images)).to(device)

    def at(self, images_seen: int) -> tuple[Pixels, Labels | None]:
        """The batch after `images_seen` images, on the device: uint8 (batch, C, H, W), and labels."""
        indices = self.indices(images_seen)
        if self._resident is not None:
            on_device = indices.to(self.device)
            pixels = self._resident.index_select(0, on_device)
        else:
            # Sorted, the map is read forwards; the order within a batch is put back afterwards.
            ordered, places = indices.sort()
            gathered = torch.from_numpy(self.packed.images[ordered.numpy()])
            pixels = torch.empty_like(gathered)
            pixels[places] = gathered
            pixels = pixels.to(self.device, non_blocking=True)
        labels = None
        if self._labels is not None:
            labels = self._labels.index_select(0, indices.to(self.device))
        return pixels, labels

    def indices(self, images_seen: int) -> torch.Tensor:
        """Which images follow after `images_seen`: this process's rows of the batch."""
        count = len(self.packed)
        pieces = []
        position, wanted = images_seen, self.batch
        while wanted > 0:
            epoch, offset = divmod(position, count)
            piece = self._order(epoch)[offset : offset + wanted]
            pieces.append(piece)
            position += len(piece)
            wanted -= len(piece)
        return torch.cat(pieces)[self.rows]

    def _order(self, epoch: int) -> torch.Tensor:
        """The epoch's permutation; the newest two are kept, since a batch can touch two epochs."""
        if epoch not in self._orders:
            random = randomness.generator(self.seed, f"order of epoch {epoch}")
            self._orders[epoch] = torch.randperm(len(self.packed), generator=random)
            while len(self._orders) > 2:
                self._orders.popitem(last=False)
        return self._orders[epoch]
