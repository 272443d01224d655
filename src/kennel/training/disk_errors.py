"""Turns errors of writing a run's files into messages, with the free space and what may be removed."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kennel.errors import RunError
from kennel.runs import checkpoint
from kennel.runs.run_dir import RunDir

FULL = (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC))
"""Disk full, file too large, quota exceeded."""


@contextmanager
def writing(folder: RunDir, what: str, needed: int | None = None) -> Iterator[None]:
    """Turns an `OSError` in the block into a `RunError`; the file takes at most `needed` bytes."""
    try:
        yield
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        if error.errno in FULL:
            free = shutil.disk_usage(folder.path).free
            size = "" if needed is None else f"it takes up to {needed:,} bytes, and "
            reason += f" ({size}{free:,} bytes are free on its disk)"
            remedy = f"free some space{_removable(folder)} and run the same command again"
        else:
            if error.filename is not None:
                reason += f": {error.filename}"
            remedy = "fix that and run the same command again"
        kept = "earlier checkpoints are intact: " if checkpoint.in_folder(folder.checkpoints) else ""
        raise RunError(f"{what} of {folder.path} could not be written, {reason}; {kept}{remedy}") from error


def _removable(folder: RunDir) -> str:
    """The parts of the run that may be removed, with their sizes; empty if there are none."""
    older = sum(path.stat().st_size for path in checkpoint.in_folder(folder.checkpoints)[1:])
    parts = {
        "checkpoints/ except the newest and the best": older,
        "samples/": _size(folder.samples),
        "tensorboard/": _size(folder.tensorboard),
    }
    named = [f"{name} ({size:,} bytes)" for name, size in parts.items() if size]
    return f" (you may remove from the run's folder: {', '.join(named)})" if named else ""


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def free_disk(folder: Path) -> int:
    """Bytes free at `folder`, which need not exist."""
    existing = folder.resolve()
    while not existing.exists():
        existing = existing.parent
    return shutil.disk_usage(existing).free
