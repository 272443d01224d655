"""Memory that the system can give to this process now."""

import os
from pathlib import Path


def free_host_bytes(root: Path = Path("/")) -> int:
    """Available memory, page cache included, within the container's limit.

    Reads Linux's files below `root`. Elsewhere it is all of the machine's memory, or 0 if unknown.
    """
    try:
        lines = (root / "proc/meminfo").read_text(encoding="ascii").splitlines()
        free = next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        try:
            return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        except (AttributeError, ValueError, OSError):
            return 0
    return min(free, _left_in_container(root, free))


def _left_in_container(root: Path, free: int) -> int:
    """What a control group leaves, not counting cached files as used; `free` without a limit."""
    for limit, used, cached in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "total_inactive_file"),
    ):
        folder = root / "sys/fs/cgroup"
        try:
            most = int((folder / limit).read_text(encoding="ascii"))
            current = int((folder / used).read_text(encoding="ascii"))
            lines = (folder / limit).with_name("memory.stat").read_text(encoding="ascii").splitlines()
        except (OSError, ValueError):  # the other cgroup version, or "max"
            continue
        evictable = sum(int(line.split()[1]) for line in lines if line.split()[0] == cached)
        return max(0, most - current + evictable)
    return free


def address_space_left() -> int:
    """What `ulimit -v` leaves to this process; 2^62 without a limit."""
    try:
        import resource

        most = resource.getrlimit(resource.RLIMIT_AS)[0]
        used = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    except (ImportError, OSError, ValueError, IndexError):
        return 1 << 62
    return 1 << 62 if most == resource.RLIM_INFINITY else max(0, most - used)
