"""A run's writing meets a disk that is full: what it says then, with what was needed and what may go."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kennel.errors import RunError
from kennel.runs import checkpoint
from kennel.runs.run_dir import RunDir

FULL = (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC))
"""The disk is full, the file is larger than it may be, the quota is used up."""


@contextmanager
def writing(folder: RunDir, what: str, needed: int | None = None) -> Iterator[None]:
    """An `OSError` of the block becomes a `RunError`: what could not be written, and how to go on.

    `needed`: at most so many bytes the file takes.
    """
    try:
        yield
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        if error.errno in FULL:
            reason += f" ({_figures(folder, needed)})"
            remedy = f"free some space{_removable(folder)} and give the same command again"
        else:
            if error.filename is not None:
                reason += f": {error.filename}"
            remedy = "mend that and give the same command again"
        kept = "the checkpoints before are whole: " if checkpoint.in_folder(folder.checkpoints) else ""
        raise RunError(f"{what} of {folder.path} could not be written, {reason}; {kept}{remedy}") from error


def _figures(folder: RunDir, needed: int | None) -> str:
    free = shutil.disk_usage(folder.path).free
    wanted = "" if needed is None else f"it takes up to {needed:,} bytes, and "
    return f"{wanted}{free:,} bytes are free on its disk"


def _removable(folder: RunDir) -> str:
    """What of this run could go, with its size; empty where there is nothing to speak of."""
    older = sum(path.stat().st_size for path in checkpoint.in_folder(folder.checkpoints)[1:])
    parts = {
        "checkpoints/ but for the newest and the best": older,
        "samples/": _size(folder.samples),
        "tensorboard/": _size(folder.tensorboard),
    }
    named = [f"{name} ({size:,} bytes)" for name, size in parts.items() if size]
    return f" (in the run's folder {', '.join(named)} may go)" if named else ""


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def free_disk(folder: Path) -> int:
    """Bytes free where `folder` is or would be."""
    there = folder.resolve()
    while not there.exists():
        there = there.parent
    return shutil.disk_usage(there).free
