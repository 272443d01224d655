"""Atomic writes: write a temporary file next to the destination, then rename it."""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path


@contextmanager
def atomic_file(destination: Path) -> Iterator[Path]:
    """Yields a temporary path next to `destination` and renames it when the block ends without an error.

    The data is flushed to disk before the rename: after a power cut the file has the old or the new content.
    """
    _make_folder(destination.parent)
    temporary = destination.with_name(f".{destination.name}.{os.getpid()}.part")
    temporary.unlink(missing_ok=True)  # from a killed process with this PID, or a planted link
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
    """Yields a temporary folder that replaces `destination` when the block ends without an error."""
    _make_folder(destination.parent)
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


def taken(name: Path) -> bool:
    """Creates an empty file; returns False if the name exists already."""
    _make_folder(name.parent)
    try:
        os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))
    except FileExistsError:
        return False
    return True


def append_durable(file: FileIO, content: bytes, end: int | None = None) -> None:
    """Writes `content` at `end` (default: the file's end) and flushes it; on an error truncates to `end`."""
    end = file.seek(0, os.SEEK_END) if end is None else end
    try:
        file.truncate(end)
        file.seek(end)
        rest = memoryview(content)
        while rest:  # a nearly full disk writes a part, then raises
            rest = rest[file.write(rest) :]
        os.fsync(file.fileno())
    except OSError:
        file.truncate(end)
        raise


def remove_partial_files(folder: Path) -> list[Path]:
    """Removes and returns files of a killed `atomic_file`; no process may be writing to `folder`."""
    if not folder.is_dir():
        return []
    left = [path for path in folder.iterdir() if _TEMPORARY.fullmatch(path.name) and not path.is_dir()]
    for path in left:
        path.unlink(missing_ok=True)
    return left


_TEMPORARY = re.compile(r"\..+\.\d+\.part")


def _make_folder(folder: Path) -> None:
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in missing:
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Makes a rename durable. Windows cannot open a folder."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
