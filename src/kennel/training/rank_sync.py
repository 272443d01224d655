"""How the ranks of one training run keep together. Alone, nothing here does anything.

Rank 0 alone looks at the run's folder and writes to it: what the others need of it, rank 0 tells them.
"""

import hashlib
import time
from collections.abc import Callable
from pathlib import Path

import torch

from kennel.config.recipe import Recipe, from_yaml
from kennel.data.dataset import ImageDataset
from kennel.distributed import all_gather_ints, broadcast_str, broadcast_tensors, rank, world_size
from kennel.engine.singular_values import Spectra
from kennel.engine.state import TrainState
from kennel.errors import RankError, RecipeError
from kennel.runs import checkpoint
from kennel.runs.checkpoint import Checkpoint
from kennel.techniques import Networks
from kennel.training.restore import restore, spectra_tensors

APART = 1.0
"""Seconds between two meetings at which ranks tell whether they were asked to stop, about."""
MOST_ROUNDS = 10_000


def refuse_uneven(batch: int) -> None:
    """Raises `RecipeError` where the ranks do not divide the batch."""
    ranks = world_size()
    if batch % ranks:
        near = max(1, round(batch / ranks)) * ranks
        raise RecipeError(
            f"a batch of {batch:,} images cannot be divided among {ranks} ranks, and the recipe's batch is "
            f"the whole one: give --set batch_size={near}, or another number of ranks"
        )


def refuse_different(dataset: ImageDataset) -> None:
    """Raises `RankError` on all ranks where one has another set than rank 0."""
    own = int.from_bytes(hashlib.blake2b(dataset.fingerprint.encode(), digest_size=8).digest()) >> 1
    told = all_gather_ints(own, patient=True)
    other = next((place for place, its in enumerate(told) if its != told[0]), None)
    if other is not None:
        raise RankError(
            f"rank {other} has another set under the name {dataset.name} than rank 0: give all machines the "
            "same packed set"
        )


def recipe_of_rank_0(find: Callable[[], Recipe]) -> Recipe:
    """The recipe that rank 0 finds, on all ranks."""
    found = None

    def text() -> str:
        nonlocal found
        found = find()
        return found.to_yaml() if world_size() > 1 else ""

    told = broadcast_str(text)
    return found or from_yaml(told, "the recipe of rank 0")


def broadcast_state(state: TrainState, recipe: Recipe, spectra: Spectra) -> None:
    """Gives every rank the state and the place in the run that rank 0 has, as a checkpoint would."""
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
    """The meetings of one run's ranks while they train."""

    def __init__(self, networks: Networks, asked: Callable[[], bool], log: Callable[[str], None]) -> None:
        """`asked` says whether this rank was asked to stop; rank 0 logs it where another was."""
        self.networks = networks
        self.asked, self.log = asked, log
        self._rounds_left = 0
        self._rounds, self._met = 1, time.monotonic()

    def should_stop(self) -> bool:
        """Whether any rank was asked to; to be asked before every round, the answer is the same for all.

        The ranks meet about once a second. How many rounds that are, rank 0 says at each meeting.
        """
        if world_size() == 1:
            return self.asked()
        if self._rounds_left > 0:
            self._rounds_left -= 1
            return False
        own = self.asked()
        seconds = max(time.monotonic() - self._met, 1e-6)
        until_next = min(MOST_ROUNDS, max(1, round(self._rounds * APART / seconds)))
        told = all_gather_ints(own, until_next)
        self._rounds = told[0][1]
        self._rounds_left, self._met = self._rounds - 1, time.monotonic()
        askers = [place for place, (asked, _) in enumerate(told) if asked]
        if askers and not own:
            self.log(f"Rank {askers[0]} was asked to stop: all stop after this round, with a checkpoint.")
        return bool(askers)

    def refuse_drift(self, state: TrainState) -> None:
        """Raises `RankError` on all ranks where their weights have drifted apart."""
        if world_size() > 1:
            refuse_drift(self.networks, state.images_seen)

    def wait(self) -> None:
        """Waits until all ranks are here, however long rank 0 takes."""
        all_gather_ints(patient=True)

    def ask_at_once(self) -> None:
        """Whether all go on is asked before the next iteration."""
        self._rounds_left, self._rounds, self._met = 0, 1, time.monotonic()


def refuse_drift(networks: Networks, images_seen: int) -> None:
    """Raises `RankError` on all ranks where one holds other weights or statistics than rank 0."""
    told = all_gather_ints(*(digest(network) for network in networks.both()))
    for place, digests in enumerate(told):
        for name, own, first in zip(("generator", "discriminator"), digests, told[0], strict=True):
            if own != first:
                raise RankError(
                    f"before {images_seen:,} images the {name} of rank {place} was no longer that of rank 0: "
                    "give all ranks the same kind of device and the same torch, and start again; the last "
                    "checkpoint is whole"
                )


@torch.no_grad()
def digest(network: torch.nn.Module) -> int:
    """A number of 63 bits: where any weight or statistic differs it does too, but for accidents."""
    values = [one for one in network.state_dict().values() if one.is_floating_point()]
    sums = torch.stack([one.double().sum() for one in values] + [one.double().norm() for one in values])
    bits = sums.cpu().numpy().tobytes()
    return int.from_bytes(hashlib.blake2b(bits, digest_size=8).digest()) >> 1
