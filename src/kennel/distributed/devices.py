"""The device of each rank."""

import os

import torch

from kennel.distributed import all_gather_ints, digest_63, world_size
from kennel.errors import RankError

KINDS = ("cpu", "cuda", "mps")


def own_device(device: torch.device) -> torch.device:
    """This rank's device for evaluation; "cuda" without a number means the GPU of its local rank.

    Ranks in evaluation exchange only CPU tensors, so they may share a GPU. Raises `RankError` if the machine
    has fewer GPUs than ranks.
    """
    return _own(device, "name one GPU for all with --device cuda:0")


def training_device(device: torch.device) -> torch.device:
    """This rank's device for training; all ranks must call it.

    The ranks sum tensors on their devices, by gloo on the CPU and by NCCL between GPUs. Raises `RankError`
    for MPS, for a rank without a GPU, and on all ranks if two share a GPU or differ in the kind of device.
    """
    if world_size() == 1:
        return device
    if device.type == "mps":
        raise RankError(
            "several ranks cannot train on MPS, which cannot send tensors between them: give --device cpu, "
            "or train without torchrun"
        )
    own = _own(device, "compute on the CPU with --device cpu")
    gathered = all_gather_ints(KINDS.index(own.type), _identity(own))
    names = [KINDS[kind] for kind, _ in gathered]
    other = next((index for index, name in enumerate(names) if name != names[0]), None)
    if other is not None:
        raise RankError(
            f"rank {other} would train on {names[other]} but rank 0 on {names[0]}: give all ranks the same "
            "kind of device, such as --device cpu"
        )
    first_with: dict[int, int] = {}
    for index, (_, identity) in enumerate(gathered) if own.type == "cuda" else ():
        if (first := first_with.setdefault(identity, index)) != index:
            raise RankError(
                f"ranks {first} and {index} would train on one GPU, but each needs its own: give --device "
                "cuda without a number, and --nproc-per-node no more than the machine's GPUs"
            )
    return own


def _own(device: torch.device, remedy: str) -> torch.device:
    if world_size() == 1 or device.type != "cuda" or device.index is not None:
        return device
    local_rank, gpus = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if local_rank >= gpus:
        raise RankError(
            f"this machine has {gpus} GPU{'' if gpus == 1 else 's'} but more ranks: start torchrun with "
            f"--nproc-per-node {gpus}, or {remedy}"
        )
    torch.cuda.set_device(local_rank)
    return torch.device("cuda", local_rank)


def _identity(device: torch.device) -> int:
    """A 63-bit number that is equal for ranks with the same GPU; 0 on the CPU."""
    if device.type != "cuda":
        return 0
    return digest_63(str(torch.cuda.get_device_properties(device).uuid).encode())
