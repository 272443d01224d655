"""One process at a time in a folder, by a lock of the system's: a killed process frees it."""

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
"""Who holds it. A file of its own: Windows locks the other one against reading too."""
PATIENCE_SECONDS = 10.0
"""How long to wait for the children of a holder that is dead: each lets go as soon as it runs again."""
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
"""What a file system says that knows no locks."""


@contextmanager
def locked(folder: Path, doing: str, say: Callable[[str], None]) -> Iterator[None]:
    """Holds the lock of `folder` for the block; where another process holds it, raises `RunError`.

    `doing` completes "the run in FOLDER is being ...". Where the file system knows no locks, it is said and
    the block runs without one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / NAME, fallback_to_soft=False)
    try:
        _acquire(lock, folder)
    except Timeout:
        raise RunError(
            f"the run in {folder} is being {doing} by {_holder(folder)}: wait for its end or stop it, "
            "or give another --out"
        ) from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        say(f"Files in {folder} cannot be locked ({error.strerror}): start only one process on it.")
        yield
        return
    pid = os.getpid()
    try:
        words = {"pid": pid, "host": socket.gethostname(), "since": time.time()}
        with suppress(OSError):  # on a full disk the lock holds without its words
            write_text(folder / HOLDER, json.dumps(words))
        yield
    finally:
        if os.getpid() == pid:  # else this is a forked child, to whom it does not belong
            with suppress(OSError):  # Windows removes no open file: the next one takes it over
                (folder / HOLDER).unlink(missing_ok=True)
                (folder / NAME).unlink(missing_ok=True)
            lock.release()


def _acquire(lock: FileLock, folder: Path) -> None:
    """At once, or raises `Timeout`, unless the holder is dead.

    A child that it had forked a moment before shares the lock until it first runs, and then closes it.
    """
    try:
        lock.acquire(blocking=False)
    except Timeout:
        if not _is_dead(_words(folder)):
            raise
        lock.acquire(timeout=PATIENCE_SECONDS, poll_interval=0.02)


def _words(folder: Path) -> dict[str, Any]:
    """What the holder says of itself; empty where it has locked and not yet said it, or it is damaged."""
    try:
        words = read_json(folder / HOLDER, 10_000)
        return {"pid": int(words["pid"]), "host": str(words["host"]), "since": float(words["since"])}
    except (UntrustedError, OSError, ValueError, LookupError, TypeError):
        return {}


def _holder(folder: Path) -> str:
    words = _words(folder)
    with suppress(LookupError, ValueError, OverflowError, OSError):
        since = datetime.fromtimestamp(words["since"]).astimezone().isoformat(" ", "seconds")
        return f"process {words['pid']} on {words['host']} (since {since})"
    return "another process"


def _is_dead(words: dict[str, Any]) -> bool:
    """Whether the holder ran on this machine and does not any more."""
    if os.name == "nt" or words.get("host") != socket.gethostname():
        return False  # Windows has no fork, and the lock ends with its process
    with suppress(PermissionError, OverflowError):
        try:
            os.kill(words["pid"], 0)
        except ProcessLookupError:
            return True
    return False
