"""Folders, zips and tars behind one interface.

Nothing is extracted: a member's name is only text, so it cannot lead out of a folder.
"""

import bz2
import gzip
import lzma
import os
import stat
import tarfile
import tempfile
import threading
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from kennel.data.sources.compact_index import CompactStrings
from kennel.data.sources.decode import MAX_FILE_BYTES, check_size
from kennel.errors import DataError
from kennel.storage.untrusted import UntrustedError, as_data_error, read_bytes

LINK = "link"
NOT_A_FILE = "not a regular file"
UNSAFE_PATH = "unsafe path"
UNREADABLE = "unreadable folder"
BROKEN = "broken"  # a tar's entry of an impossible size

_DECOMPRESSORS: dict[bytes, Callable[..., Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}
"""By the first bytes of a file."""
_MAX_HEADER_BYTES = 1 << 20  # of a tar member, with its names
_MAX_READS_AT_END = 16
_MAX_OFFSET = 1 << 62
UNPACKED_FREELY, UNPACKED_TIMES = 1 << 30, 100
"""An archive may unpack to the larger of these bytes and this multiple of its size: images are already
compressed, so a larger ratio is a decompression bomb."""

_ARCHIVE_SUFFIXES = (".zip", ".tar", ".tgz", ".tbz", ".tbz2", ".txz", ".tar.gz", ".tar.bz2", ".tar.xz")


class Member(NamedTuple):
    """One file of a container."""

    name: str
    """Its path in the container, with `/`, for example `Images/n02085620-Chihuahua/n02085620_7.jpg`."""
    where: int
    """The container's key for it."""
    size: int
    """Bytes of content. A zip may announce a wrong size; reading stops at `MAX_FILE_BYTES`."""
    refusal: str | None = None
    """Why the member is not read (a link, an unsafe path), or None."""


class Container(ABC):
    """A folder or archive of files."""

    @abstractmethod
    def members(self) -> Iterator[Member]:
        """Each file once, links and devices with a refusal; no folders."""

    @abstractmethod
    def read(self, member: Member) -> bytes:
        """A member's content, from any thread. Raises `DataError` with a reason."""

    def close(self) -> None:  # noqa: B027 - many have nothing to close
        """Closes open files."""


def is_archive(path: Path) -> bool:
    """Whether the file name is that of a zip or a tar."""
    return path.name.lower().endswith(_ARCHIVE_SUFFIXES)


def only_archive(folder: Path) -> Path | None:
    """The archive in a folder, if there is exactly one; hidden files do not count."""
    archives = [path for path in folder.iterdir() if is_archive(path) and not path.name.startswith(".")]
    return archives[0] if len(archives) == 1 else None


def max_unpacked_bytes(archive: Path) -> int:
    """The most bytes that an archive may unpack to."""
    return max(UNPACKED_FREELY, UNPACKED_TIMES * archive.stat().st_size)


def open_container(path: Path, scratch: Path | None = None) -> Container:
    """The container at `path`. Raises `DataError` if it is missing or neither a folder, a zip nor a tar.

    A compressed tar is uncompressed once into a nameless temporary file in `scratch` (default: the system's
    folder), because it cannot be read from the middle.
    """
    if path.is_dir():
        return FolderContainer(path)
    if not path.is_file():
        raise DataError(f"there is no folder or file '{path}': give a folder, a zip or a tar of images")
    with as_data_error(f"'{path}' cannot be read as a zip or a tar", "it is damaged or of another format"):
        if zipfile.is_zipfile(path) and not path.name.lower().endswith(".tar"):
            return ZipContainer(path)
        return TarContainer(path, scratch)


def climbs_out(name: str) -> bool:
    """Whether a path is absolute, names a drive, or contains `..`."""
    parts = name.replace("\\", "/").split("/")
    return name.startswith(("/", "\\")) or ".." in parts or parts[0][1:2] == ":"


class FolderContainer(Container):
    """A folder and its subfolders. Links are not followed, so there are no loops and no way out."""

    def __init__(self, path: Path, enter: Callable[[str], bool] = lambda folder: True) -> None:
        """`enter(relative path)` decides whether a subfolder is read."""
        self.path = path
        self._enter = enter
        self._names = CompactStrings()

    def members(self) -> Iterator[Member]:
        self._names = CompactStrings()
        folders = [""]
        while folders:
            folder = folders.pop()
            try:
                with os.scandir(self.path / folder) as entries:
                    yield from self._files(entries, folder, folders)
            except OSError:
                yield Member(folder, -1, 0, UNREADABLE)

    def _files(
        self, entries: Iterator["os.DirEntry[str]"], folder: str, folders: list[str]
    ) -> Iterator[Member]:
        for entry in entries:
            name = f"{folder}{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                if self._enter(name):
                    folders.append(f"{name}/")
                continue
            status = entry.stat(follow_symlinks=False)
            refusal = None if stat.S_ISREG(status.st_mode) else NOT_A_FILE
            if entry.is_symlink():
                refusal = LINK
            self._names.append(name)
            yield Member(name, len(self._names) - 1, status.st_size, refusal)

    def read(self, member: Member) -> bytes:
        check_size(member.size)
        try:
            return read_bytes(self.path / self._names[member.where], MAX_FILE_BYTES)
        except UntrustedError as error:
            raise DataError(str(error)) from error


class ZipContainer(Container):
    """A zip archive."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._zip = zipfile.ZipFile(path)
        self._infos = self._zip.infolist()

    def members(self) -> Iterator[Member]:
        for where, info in enumerate(self._infos):
            if info.filename.endswith("/"):  # `is_dir` fails for an empty name, in damaged archives
                continue
            name = info.filename.replace("\\", "/")  # as some packers for Windows write it
            mode = info.external_attr >> 16
            refusal = UNSAFE_PATH if climbs_out(name) else None
            if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
                refusal = LINK if stat.S_ISLNK(mode) else NOT_A_FILE
            yield Member(name, where, info.file_size, refusal)

    def read(self, member: Member) -> bytes:
        where = self._infos[member.where]
        with as_data_error("it cannot be read from the zip"), self._zip.open(where) as stream:
            return stream.read(MAX_FILE_BYTES + 1)

    def close(self) -> None:
        self._zip.close()


class TarContainer(Container):
    """A tar archive; `Member.where` is the position of the content in the uncompressed tar."""

    def __init__(self, path: Path, scratch: Path | None = None) -> None:
        """`scratch` is the folder in which a compressed tar is uncompressed."""
        self.path = path
        self._lock = threading.Lock()
        self._plain = uncompressed(path, scratch)
        try:
            _check_tar(self._plain)
        except BaseException:
            self._plain.close()
            raise

    def members(self) -> Iterator[Member]:
        return members_of_tar(self._plain, str(self.path))

    def read(self, member: Member) -> bytes:
        with self._lock:
            return read_stored(self._plain, member.where, member.size)

    def close(self) -> None:
        self._plain.close()


def read_stored(stream: IO[bytes], start: int, size: int) -> bytes:
    """`size` bytes of a tar from `start` on. Raises `DataError` if they are too many or missing."""
    check_size(size)
    stream.seek(start)
    content = stream.read(size)
    if len(content) != size:
        raise DataError("the archive ends before the file does")
    return content


def members_of_tar(plain: IO[bytes], name: str) -> Iterator[Member]:
    """The members of an uncompressed tar in one pass over its headers. Raises `DataError` with `name`."""
    with as_data_error(f"the tar '{name}' is damaged or cut off", "fetch it again"):
        length = plain.seek(0, os.SEEK_END)
        plain.seek(0)
        with closing(tarfile.open(fileobj=cast(IO[bytes], _GuardedStream(plain)), mode="r:")) as archive:
            for info in archive:
                # Otherwise the headers of a million members stay in memory.
                archive.members = []  # type: ignore[attr-defined]
                if not 0 <= info.size <= length:
                    # A negative size would lead back to earlier headers, in an endless loop.
                    archive.offset = info.offset_data
                    yield Member(info.name, -1, 0, BROKEN)
                    continue
                if info.isdir():
                    continue
                refusal = UNSAFE_PATH if climbs_out(info.name) else None
                if not info.isreg():
                    refusal = LINK if info.issym() or info.islnk() else NOT_A_FILE
                elif info.sparse is not None:
                    refusal = NOT_A_FILE
                yield Member(info.name, info.offset_data, info.size, refusal)
            end = archive.offset
        # tarfile takes a damaged header in the middle for the end; the true end is zeros.
        plain.seek(end)
        if plain.read(512).strip(b"\0"):
            raise tarfile.ReadError(f"no header at byte {end:,}")


class _GuardedStream:
    """A stream with limits for tarfile, whose reads and seeks are controlled by untrusted headers."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._empty_reads = 0

    def read(self, size: int = -1) -> bytes:
        """Limits the size, and the reads at the end, where a sparse map could make tarfile loop."""
        if not 0 <= size <= _MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        content = self._stream.read(size)
        self._empty_reads = 0 if content else self._empty_reads + 1
        if self._empty_reads > _MAX_READS_AT_END:
            raise tarfile.ReadError("a header continues after the end")
        return content

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if offset < 0 or offset > _MAX_OFFSET:
            raise tarfile.ReadError(f"a header leads to byte {offset:,}")
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()


def uncompressed(path: Path, scratch: Path | None) -> IO[bytes]:
    """The content of a plain, gzip, bzip2 or xz file: the file itself or a nameless temporary file."""
    stream = path.open("rb")
    start = stream.read(6)
    stream.seek(0)
    decompress = next((opener for magic, opener in _DECOMPRESSORS.items() if start.startswith(magic)), None)
    if decompress is None:
        return stream
    plain = tempfile.TemporaryFile(dir=scratch)  # noqa: SIM115 - the caller closes it
    try:
        with stream, decompress(stream, "rb") as content:
            most, written = max_unpacked_bytes(path), 0
            while chunk := content.read(1 << 20):
                written += len(chunk)
                if written > most:
                    raise DataError(
                        f"'{path}' uncompresses to more than {most:,} bytes, too much for images: if it is "
                        "right, uncompress it yourself and give the plain file"
                    )
                plain.write(chunk)
    except BaseException:
        plain.close()
        raise
    plain.seek(0)
    return plain


def is_compressed(path: Path) -> bool:
    """Whether a file starts as gzip, bzip2 or xz."""
    with path.open("rb") as stream:
        return stream.read(6).startswith(tuple(_DECOMPRESSORS))


def is_plain_tar(path: Path) -> bool:
    """Whether a file is an uncompressed tar."""
    with path.open("rb") as stream:
        try:
            _check_tar(stream)
        except tarfile.TarError:
            return False
    return True


def _check_tar(stream: IO[bytes]) -> None:
    tarfile.open(fileobj=cast(IO[bytes], _GuardedStream(stream)), mode="r:").close()
