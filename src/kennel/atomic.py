"""Nothing half-written is ever seen under its final name: write beside it, then rename."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_file(destination: Path) -> Iterator[Path]:
    """Yields a temporary path beside `destination`; renames it there when the block ends without an error.

    The data is flushed to the disk before the rename, so that after a power cut the name holds the old
    content or the new one. On an error the temporary file is removed and `destination` stays as it was.
    """
    destination.parent.mkdir(parents=True, exist_ok=True)
    temporary = destination.with_name(f".{destination.name}.{os.getpid()}.part")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(destination)
        _sync_folder(destination.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(destination: Path) -> Iterator[Path]:
    """Yields a temporary folder beside `destination`; renames it there when the block ends without an error.

    An existing `destination` is replaced only then. On an error, or an interrupt, the temporary folder goes.
    """
    destination.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{destination.name}.", suffix=".part", dir=destination.parent))
    temporary.chmod(0o755)
    try:
        yield temporary
        if destination.exists():
            replaced = destination.with_name(f".{destination.name}.{os.getpid()}.old")
            destination.rename(replaced)
            temporary.rename(destination)
            shutil.rmtree(replaced)
        else:
            temporary.rename(destination)
        _sync_folder(destination.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_text(destination: Path, text: str) -> None:
    """Writes UTF-8 text atomically."""
    with atomic_file(destination) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _sync_folder(folder: Path) -> None:
    """Makes a rename durable where the system allows a folder to be opened (not on Windows)."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
