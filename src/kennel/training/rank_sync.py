"""Keeps the ranks of one training run in step. With one rank it does nothing.

Only rank 0 reads and writes the run's folder, and broadcasts what the others need.
"""

import time
from collections.abc import Callable
from pathlib import Path

import torch

from kennel.config.recipe import Recipe, from_yaml
from kennel.data.dataset import ImageDataset
from kennel.distributed import (
    all_gather_ints,
    broadcast_str,
    broadcast_tensors,
    digest_63,
    rank,
    world_size,
)
from kennel.engine.singular_values import Spectra
from kennel.engine.state import TrainState
from kennel.errors import RankError, RecipeError
from kennel.runs import checkpoint
from kennel.runs.checkpoint import Checkpoint
from kennel.techniques import Networks
from kennel.training.restore import restore, spectra_tensors

SYNC_SECONDS = 1.0
"""Approximate seconds between two exchanges of stop requests."""
MOST_ITERATIONS = 10_000


def refuse_uneven(batch: int) -> None:
    """Raises `RecipeError` if the batch is not divisible by the number of ranks."""
    ranks = world_size()
    if batch % ranks:
        near = max(1, round(batch / ranks)) * ranks
        raise RecipeError(
            f"a batch of {batch:,} images, the total over all ranks, cannot be divided among {ranks} ranks: "
            f"give --set batch_size={near}, or another number of ranks"
        )


def refuse_different(dataset: ImageDataset) -> None:
    """Raises `RankError` on all ranks if one has another set than rank 0."""
    gathered = all_gather_ints(digest_63(dataset.fingerprint.encode()), patient=True)
    other = next((index for index, digests in enumerate(gathered) if digests != gathered[0]), None)
    if other is not None:
        raise RankError(
            f"rank {other} has another set with the name {dataset.name} than rank 0: give all machines the "
            "same packed set"
        )


def recipe_of_rank_0(find: Callable[[], Recipe]) -> Recipe:
    """The recipe that `find` returns on rank 0, on all ranks."""
    found = None

    def text() -> str:
        nonlocal found
        found = find()
        return found.to_yaml() if world_size() > 1 else ""

    received = broadcast_str(text)
    return found or from_yaml(received, "the recipe of rank 0")


def broadcast_state(state: TrainState, recipe: Recipe, spectra: Spectra) -> None:
    """Restores rank 0's training state on every rank, as from a checkpoint."""
    if world_size() == 1:
        return
    own = {} if rank() else checkpoint.collect(state.step, state.running_means) | spectra_tensors(spectra)
    tensors = broadcast_tensors(own)
    rollbacks = all_gather_ints(state.rollbacks)[0][0]
    images_seen, tick_due = all_gather_ints(state.images_seen, state.tick_due)[0]
    seconds = float(broadcast_str(lambda: repr(state.seconds)))
    if rank():
        metadata = {"images_seen": images_seen, "rollbacks": rollbacks}
        restore(state, Checkpoint(Path("the state of rank 0"), tensors, metadata), recipe, spectra)
        state.seconds, state.tick_due = seconds, bool(tick_due)


class RankSync:
    """Exchanges stop requests and waits between the ranks of one run."""

    def __init__(
        self, networks: Networks, stop_requested: Callable[[], bool], log: Callable[[str], None]
    ) -> None:
        """`stop_requested` is for this rank; `log` gets a message if another rank requests a stop."""
        self.networks = networks
        self.stop_requested, self.log = stop_requested, log
        self._remaining, self._interval, self._exchanged_at = 0, 1, time.monotonic()

    def should_stop(self) -> bool:
        """Whether any rank requests a stop, the same on all ranks; call it before every iteration.

        The ranks exchange this about once a second; rank 0 decides after how many iterations.
        """
        if world_size() == 1:
            return self.stop_requested()
        if self._remaining > 0:
            self._remaining -= 1
            return False
        own = self.stop_requested()
        seconds = max(time.monotonic() - self._exchanged_at, 1e-6)
        iterations = min(MOST_ITERATIONS, max(1, round(self._interval * SYNC_SECONDS / seconds)))
        gathered = all_gather_ints(own, iterations)
        self._interval = gathered[0][1]
        self._remaining, self._exchanged_at = self._interval - 1, time.monotonic()
        stopping = [index for index, (requested, _) in enumerate(gathered) if requested]
        if stopping and not own:
            self.log(f"Rank {stopping[0]} requests a stop: all ranks stop now, with a checkpoint.")
        return bool(stopping)

    def refuse_drift(self, state: TrainState) -> None:
        if world_size() > 1:
            refuse_drift(self.networks, state.images_seen)

    def wait(self) -> None:
        """Waits for all ranks, however long rank 0 takes."""
        all_gather_ints(patient=True)

    def check_next_iteration(self) -> None:
        """Makes the next call of `should_stop` an exchange."""
        self._remaining, self._interval, self._exchanged_at = 0, 1, time.monotonic()


def refuse_drift(networks: Networks, images_seen: int) -> None:
    """Raises `RankError` on all ranks if weights or buffers of one differ from those of rank 0."""
    gathered = all_gather_ints(*(digest(network) for network in networks.both()))
    for index, digests in enumerate(gathered):
        for name, own, first in zip(("generator", "discriminator"), digests, gathered[0], strict=True):
            if own != first:
                raise RankError(
                    f"before {images_seen:,} images the {name} of rank {index} differs from that of rank 0: "
                    "use the same kind of device and the same torch on all ranks, and start again; the last "
                    "checkpoint is intact"
                )


@torch.no_grad()
def digest(network: torch.nn.Module) -> int:
    """A 63-bit number of the sums and norms of all floating tensors, to compare networks."""
    values = [one for one in network.state_dict().values() if one.is_floating_point()]
    sums = torch.stack([one.double().sum() for one in values] + [one.double().norm() for one in values])
    return digest_63(sums.cpu().numpy().tobytes())
