"""A system lock on a folder: one process at a time. The system releases it if the process is killed."""

import errno
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from kennel.errors import RunError
from kennel.storage.atomic_io import write_text
from kennel.storage.untrusted import UntrustedError, read_json

NAME = ".lock"
HOLDER = ".lock.json"
"""Describes the holder. A separate file: on Windows nobody else can read the locked one."""
PATIENCE_SECONDS = 10.0
"""How long to wait for forked children of a dead holder: each releases the lock when it first runs."""
_UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
"""Errors of file systems without locks."""


@contextmanager
def locked(folder: Path, activity: str, warn: Callable[[str], None], content: str = "run") -> Iterator[None]:
    """Locks `folder` for the block. Raises `RunError` if another process holds the lock.

    `content` and `activity` complete "the CONTENT in FOLDER is being ACTIVITY". If the file system has no
    locks, `warn` gets a sentence and the block runs without one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / NAME, fallback_to_soft=False)
    try:
        _acquire(lock, folder)
    except Timeout:
        raise RunError(
            f"the {content} in {folder} is being {activity} by {_holder(folder)}: wait for its end or stop "
            "it, or give another --out"
        ) from None
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        warn(f"Files in {folder} cannot be locked ({error.strerror}): start only one process on it.")
        yield
        return
    pid = os.getpid()
    try:
        info = {"pid": pid, "host": socket.gethostname(), "since": time.time()}
        with suppress(OSError):  # a full disk: the lock works without the file
            write_text(folder / HOLDER, json.dumps(info))
        yield
    finally:
        if os.getpid() == pid:  # a forked child must not release it
            with suppress(OSError):  # Windows cannot remove an open file
                (folder / HOLDER).unlink(missing_ok=True)
                (folder / NAME).unlink(missing_ok=True)
            lock.release()


def is_locked(folder: Path) -> bool:
    """Whether another process holds the lock of `folder`; False if the file system has no locks."""
    if not (folder / NAME).is_file():
        return False
    lock = FileLock(folder / NAME, fallback_to_soft=False)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return True
    except OSError:
        return False
    lock.release()
    return False


def _acquire(lock: FileLock, folder: Path) -> None:
    """Waits only for forked children of a dead holder, which share the lock until they first run."""
    try:
        lock.acquire(blocking=False)
    except Timeout:
        if not _is_dead(_read_holder(folder)):
            raise
        lock.acquire(timeout=PATIENCE_SECONDS, poll_interval=0.02)


def _read_holder(folder: Path) -> dict[str, Any]:
    """The content of `HOLDER`; empty if it is missing or damaged."""
    try:
        info = read_json(folder / HOLDER, 10_000)
        return {"pid": int(info["pid"]), "host": str(info["host"]), "since": float(info["since"])}
    except (UntrustedError, OSError, ValueError, LookupError, TypeError):
        return {}


def _holder(folder: Path) -> str:
    info = _read_holder(folder)
    with suppress(LookupError, ValueError, OverflowError, OSError):
        since = datetime.fromtimestamp(info["since"]).astimezone().isoformat(" ", "seconds")
        return f"process {info['pid']} on {info['host']} (since {since})"
    return "another process"


def _is_dead(info: dict[str, Any]) -> bool:
    """Whether the holder ran on this machine and has ended."""
    if os.name == "nt" or info.get("host") != socket.gethostname():
        return False  # on Windows there is no fork, and the lock ends with its process
    with suppress(PermissionError, OverflowError):
        try:
            os.kill(info["pid"], 0)
        except ProcessLookupError:
            return True
    return False
