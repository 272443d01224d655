"""Which device each of several ranks computes on."""

import hashlib
import os

import torch

from kennel.distributed import all_gather_ints, world_size
from kennel.errors import RankError

KINDS = ("cpu", "cuda", "mps")


def own_device(device: torch.device) -> torch.device:
    """Where this rank computes: of "cuda" without a number its own GPU, by its place on this machine.

    For ranks that send one another tensors of the CPU alone, as they do when they judge: they may share a
    GPU. Raises `RankError` where the machine has fewer GPUs than ranks.
    """
    return _own(device, "name one GPU for all with --device cuda:0")


def training_device(device: torch.device) -> torch.device:
    """Where this rank trains; all ranks must come to it.

    They sum tensors where these are: by gloo on the CPU, by NCCL between GPUs of which each rank has one.
    Raises `RankError` on a rank without a GPU where there should be one, for MPS, and on all ranks where they
    have one GPU or different kinds of device.
    """
    if world_size() == 1:
        return device
    if device.type == "mps":
        raise RankError(
            "several ranks cannot train on MPS, which has no way to send tensors between them: give --device "
            "cpu, or train without torchrun"
        )
    own = _own(device, "compute on the CPU with --device cpu")
    told = all_gather_ints(KINDS.index(own.type), _identity(own))
    names = [KINDS[kind] for kind, _ in told]
    other = next((place for place, name in enumerate(names) if name != names[0]), None)
    if other is not None:
        raise RankError(
            f"rank {other} would train on {names[other]} and rank 0 on {names[0]}: give all ranks the same "
            "kind of device, such as --device cpu"
        )
    first_with: dict[int, int] = {}
    for place, (_, identity) in enumerate(told) if own.type == "cuda" else ():
        if (first := first_with.setdefault(identity, place)) != place:
            raise RankError(
                f"ranks {first} and {place} would train on one GPU, and each needs its own: give --device "
                "cuda without a number, and --nproc-per-node no more than the machine's GPUs"
            )
    return own


def _own(device: torch.device, remedy: str) -> torch.device:
    if world_size() == 1 or device.type != "cuda" or device.index is not None:
        return device
    place, found = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if place >= found:
        raise RankError(
            f"this machine has {found} GPU{'' if found == 1 else 's'} and more ranks: start torchrun with "
            f"--nproc-per-node {found}, or {remedy}"
        )
    torch.cuda.set_device(place)
    return torch.device("cuda", place)


def _identity(device: torch.device) -> int:
    """A number of 63 bits that two ranks share where they have the same GPU; 0 on the CPU."""
    if device.type != "cuda":
        return 0
    own = str(torch.cuda.get_device_properties(device).uuid)  # no two GPUs of the world have the same
    return int.from_bytes(hashlib.blake2b(own.encode(), digest_size=8).digest()) >> 1
