"""How much memory there is for a set to live in, and what the user may say about it."""

import os

import torch

from kennel.data.free_memory import free_host_bytes, left_to_process
from kennel.errors import DataError

DEVICE_SHARE = 0.5
"""Of an accelerator's free memory: a training's own needs (weights, averages, what the backward pass keeps)
are not yet allocated when the set is, and seldom reach half of a device that the user chose for them."""
HOST_SHARE = 0.25
"""Of the free memory of the machine, which is everybody's, and whose page cache serves a streamed set nearly
as fast as its own memory would."""

_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def parse_memory(text: str) -> int | None:
    """`auto` (None), `always`, `never`, or bytes such as `8G` and `500M` (powers of 1,024).

    Raises `DataError` for anything else.
    """
    word = text.strip().lower()
    if word == "auto":
        return None
    if word in ("always", "never"):
        return 1 << 62 if word == "always" else 0
    number, unit = word.rstrip("kmgtib"), word.lstrip("0123456789.").removesuffix("b").removesuffix("i")
    try:
        return int(float(number) * _UNITS[unit])
    except (ValueError, KeyError, OverflowError):
        raise DataError(
            f"--device-cache is '{text}': give auto, always, never, or how much it may fill, such as 8G"
        ) from None


def memory_on(device: torch.device) -> int:
    """Bytes that a set may fill on `device`: a share of what is free there now.

    The ranks of one machine (torchrun's LOCAL_WORLD_SIZE) divide the host's memory among them.
    """
    free = free_bytes(device)
    if device.type == "cpu":
        return int(free * HOST_SHARE) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return int(free * DEVICE_SHARE)


def free_bytes(device: torch.device) -> int:
    """Memory that this process could still take on `device`; 0 where the system does not say.

    On the CPU it is at most what the shell's limit (`ulimit -v`) leaves.
    """
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    host = min(free_host_bytes(), left_to_process())
    if device.type == "mps":
        return min(int(torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()), host)
    return host
