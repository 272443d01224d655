"""Nothing half-written is ever seen under its final name: write beside it, then rename."""

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
    """Yields a temporary path beside `destination`; renames it there when the block ends without an error.

    The data is flushed to the disk before the rename, so that after a power cut the name holds the old
    content or the new one. On an error the temporary file is removed and `destination` stays as it was.
    """
    _make_folder(destination.parent)
    temporary = destination.with_name(f".{destination.name}.{os.getpid()}.part")
    temporary.unlink(missing_ok=True)  # a killed process with our number left it, or a link was laid there
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
    """Makes an empty file of that name; False where there is something already, whoever made it."""
    _make_folder(name.parent)
    try:
        os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))
    except FileExistsError:
        return False
    return True


def append_durable(file: FileIO, content: bytes, end: int | None = None) -> None:
    """Writes all of `content` behind the file's first `end` bytes (all of them), on the disk on return.

    On an error the file is as long as before: no part of `content` stays.
    """
    end = file.seek(0, os.SEEK_END) if end is None else end
    try:
        file.truncate(end)
        file.seek(end)
        rest = memoryview(content)
        while rest:  # a disk that is nearly full takes a part, and refuses the next one
            rest = rest[file.write(rest) :]
        os.fsync(file.fileno())
    except OSError:
        file.truncate(end)
        raise


def remove_partial_files(folder: Path) -> list[Path]:
    """Removes what a killed process left half-written in `folder`; gives the names.

    Only files by the names that `atomic_file` gives, and only for a folder that nobody else writes to now.
    """
    if not folder.is_dir():
        return []
    left = [path for path in folder.iterdir() if _TEMPORARY.fullmatch(path.name) and not path.is_dir()]
    for path in left:
        path.unlink(missing_ok=True)
    return left


_TEMPORARY = re.compile(r"\..+\.\d+\.part")


def _make_folder(folder: Path) -> None:
    """Makes a folder and those above it, all of them durable."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for one in missing:
        _sync_folder(one.parent)


def _sync_folder(folder: Path) -> None:
    """Makes a rename durable where the system allows a folder to be opened (not on Windows)."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
