"""How much memory a data set may fill."""

import os

import torch

from kennel.data.free_memory import address_space_left, free_host_bytes
from kennel.errors import DataError

DEVICE_SHARE = 0.5
"""Share of an accelerator's free memory. The training's own memory (weights, averages, activations) is
allocated later, and seldom needs more than the other half."""
HOST_SHARE = 0.25
"""Share of the host's free memory, which other processes use too. A streamed set in the page cache is nearly
as fast."""

_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def parse_memory(text: str) -> int | None:
    """Parses `auto` (None), `always`, `never`, or bytes such as `8G` and `500M` (powers of 1,024)."""
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
    """Bytes that a set may fill on `device`. Ranks (LOCAL_WORLD_SIZE) divide the host's memory."""
    free = free_bytes(device)
    if device.type == "cpu":
        return int(free * HOST_SHARE) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return int(free * DEVICE_SHARE)


def free_bytes(device: torch.device) -> int:
    """Free memory on `device`; on the CPU within the shell's limit (`ulimit -v`). 0 if unknown."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    host = min(free_host_bytes(), address_space_left())
    if device.type == "mps":
        return min(int(torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()), host)
    return host
