"""One process at a time: a lock that the system itself holds, so that a killed process frees it."""

import errno
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from kennel.errors import RunError
from kennel.storage.untrusted import UntrustedError, read_json

NAME = ".lock"
_FAR = 1 << 30
"""Windows locks a byte against reading too: one far behind the words."""
PATIENCE_SECONDS = 10.0
"""How long to wait for the children of a holder that is dead: each lets go as soon as it runs again."""
_held: set[int] = set()
"""File descriptors of this process's locks."""


@contextmanager
def locked(folder: Path, doing: str, say: Callable[[str], None]) -> Iterator[None]:
    """Holds the lock of `folder` for the block; where another process holds it, raises `RunError`.

    `doing` completes "the run in FOLDER is being ...". Where the file system knows no locks, it is said and
    the block runs without one.
    """
    path = folder / NAME
    folder.mkdir(parents=True, exist_ok=True)
    file = _acquired(path, folder, doing, say)
    if file is None:
        yield
        return
    _held.add(file)
    try:
        words = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.time()}
        os.ftruncate(file, 0)
        with suppress(OSError):  # on a full disk the lock holds without its words
            os.write(file, json.dumps(words).encode())
        yield
    finally:
        if file in _held:  # else this is a forked child, to whom it does not belong
            _held.discard(file)
            with suppress(OSError):  # Windows removes no open file: the next one takes it over
                path.unlink(missing_ok=True)
            os.close(file)


def _acquired(path: Path, folder: Path, doing: str, say: Callable[[str], None]) -> int | None:
    """A locked descriptor of the file that bears the name now; None where there are no locks."""
    patience = time.monotonic() + PATIENCE_SECONDS
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o644)
        try:
            _lock(file)
        except OSError as error:
            os.close(file)
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK):
                if _is_dead(path) and time.monotonic() < patience:
                    time.sleep(0.02)
                    continue
                raise RunError(
                    f"the run in {folder} is being {doing} by {_holder(path)}: wait for its end or stop it, "
                    "or give another --out"
                ) from None
            say(f"Files in {folder} cannot be locked ({error.strerror}): start only one process on it.")
            return None
        # The holder before us may have removed the file between our opening and our locking.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file), path.stat()):
                return file
        os.close(file)


def _holder(path: Path) -> str:
    try:
        words = read_json(path, 10_000)
        since = datetime.fromtimestamp(words["since"]).astimezone().isoformat(" ", "seconds")
        return f"process {words['pid']} on {words['host']} (since {since})"
    except (UntrustedError, OSError, ValueError, LookupError, TypeError, OverflowError):
        return "another process"  # it has locked and not yet said who it is


if sys.platform == "win32":
    import msvcrt

    def _lock(file: int) -> None:
        os.lseek(file, _FAR, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        os.lseek(file, 0, os.SEEK_SET)

    def _is_dead(path: Path) -> bool:
        return False  # there is no fork, and the lock ends with its process

else:
    import fcntl

    def _lock(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _is_dead(path: Path) -> bool:
        """Whether the holder ran on this machine and does not any more.

        A child that it had forked a moment before shares the lock until it first runs, and then closes it.
        """
        try:
            words = read_json(path, 10_000)
            if words["host"] == socket.gethostname():
                os.kill(int(words["pid"]), 0)
        except ProcessLookupError:
            return True
        except (UntrustedError, OSError, ValueError, LookupError, TypeError, OverflowError):
            return False
        return False

    def _forget() -> None:
        """A forked child shares the lock: it would hold it for a parent that was killed."""
        for file in _held:
            os.close(file)
        _held.clear()

    os.register_at_fork(after_in_child=_forget)
