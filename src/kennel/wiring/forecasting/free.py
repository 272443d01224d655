"""What a machine has free: memory of a device, room on a disk."""

import os
import shutil
from pathlib import Path

import torch

_CGROUP = Path("/sys/fs/cgroup")


def free_memory(device: torch.device) -> int | None:
    """Bytes that a program could still take on `device`; None where the system does not say."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if device.type == "mps":
        return int(torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())
    found = [one for one in (_available(), _allowed(), _addressable()) if one is not None]
    return min(found) if found else None


def _available() -> int | None:
    """Linux's own estimate, files that it keeps in memory and can drop included; else the free pages."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        told = {name: value for name, _, value in (line.partition(":") for line in lines)}
        return int(told["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        pass
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return None


def _allowed() -> int | None:
    """What a container's limit leaves; None where there is none."""
    try:
        most = int((_CGROUP / "memory.max").read_text(encoding="ascii"))
        used = int((_CGROUP / "memory.current").read_text(encoding="ascii"))
        kept = (_CGROUP / "memory.stat").read_text(encoding="ascii").split()
        droppable = int(kept[kept.index("inactive_file") + 1])
    except (OSError, ValueError, IndexError):
        return None
    return max(0, most - used + droppable)


def _addressable() -> int | None:
    """What the process's own limit (`ulimit -v`) leaves; None where there is none."""
    try:
        import resource

        most = resource.getrlimit(resource.RLIMIT_AS)[0]
        used = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    except (ImportError, OSError, ValueError, IndexError):
        return None
    return None if most == resource.RLIM_INFINITY else max(0, most - used)


def free_disk(folder: Path) -> int:
    """Bytes free where `folder` is or would be."""
    there = folder.resolve()
    while not there.exists():
        there = there.parent
    return shutil.disk_usage(there).free
