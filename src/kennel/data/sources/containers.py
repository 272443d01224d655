"""Where files come from: a folder, a zip or a tar, all read through the same questions.

A container lists its members once (`members`: links and devices too, with a refusal; no folders) and then
gives the content of any of them, from any thread (`read`: raises `DataError` with a reason where it cannot).
Nothing is ever extracted: a member's name is only a word, so no name can lead out of anywhere.
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
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import IO, Any, NamedTuple, Protocol, cast, runtime_checkable

from kennel.data.sources.compact_index import CompactStrings
from kennel.data.sources.decode import MAX_FILE_BYTES
from kennel.errors import DataError
from kennel.storage.untrusted import UntrustedError, printable, read_bytes

LINK = "link"
NOT_A_FILE = "not a regular file"
UNSAFE_PATH = "unsafe path"
UNREADABLE = "unreadable folder"
BROKEN = "broken"
"""A tar's entry of a size that no file has."""

_GZIP, _BZIP2, _XZ = b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00"
_HEADER_BYTES = 1 << 20
"""Of a tar's member: names of more are refused unread."""
_ENDS_TOLD = 16
_FARTHEST = 1 << 62
UNPACKED_FREELY, UNPACKED_TIMES = 1 << 30, 100
"""A compressed tar may fill so many bytes, or its own size times so much where that is more: pictures are
compressed already, and a few megabytes that become many gigabytes are no collection of them."""

_ARCHIVE_SUFFIXES = (".zip", ".tar", ".tgz", ".tbz", ".tbz2", ".txz", ".tar.gz", ".tar.bz2", ".tar.xz")


class Member(NamedTuple):
    """One file of a container."""

    name: str
    """Its path in the container, with `/`, for example `Images/n02085620-Chihuahua/n02085620_7.jpg`."""
    where: int
    """What the container finds it by."""
    size: int
    """Bytes of content; what a zip announces is not believed beyond `MAX_FILE_BYTES`."""
    refusal: str | None = None
    """Why it will not be read (a link, a path that climbs out), None where it will."""


@runtime_checkable
class Container(Protocol):
    """What is asked of a container."""

    def members(self) -> Iterator[Member]:
        """Its files, each once; no folders."""
        ...

    def read(self, member: Member) -> bytes:
        """A member's content, from any thread. Raises `DataError` with a reason."""
        ...

    def close(self) -> None:
        """Gives back what it holds."""
        ...


def is_archive(path: Path) -> bool:
    """Whether the file's name is that of a zip or a tar."""
    return path.name.lower().endswith(_ARCHIVE_SUFFIXES)


def open_container(path: Path, scratch: Path | None = None) -> Container:
    """The container at `path`. Raises `DataError` where nothing is there or it is neither of the three.

    A compressed tar cannot be read from the middle, so it is uncompressed once into a nameless temporary file
    in the folder `scratch` (the system's folder for such files by default).
    """
    if path.is_dir():
        return FolderContainer(path)
    if not path.is_file():
        raise DataError(f"there is no folder or file '{path}': give a folder, a zip or a tar of images")
    try:
        if zipfile.is_zipfile(path) and not path.name.lower().endswith(".tar"):
            return ZipContainer(path)
        return TarContainer(path, scratch)
    except DataError:
        raise
    except Exception as error:  # a hostile directory makes zipfile and tarfile raise nearly anything
        raise DataError(
            f"'{path}' cannot be read as a zip or a tar ({error}): it is damaged, or it is something else"
        ) from error


def climbs_out(name: str) -> bool:
    """Whether a path would leave the folder that it is unpacked in: absolute, a drive, or through `..`."""
    parts = name.replace("\\", "/").split("/")
    return name.startswith(("/", "\\")) or ".." in parts or parts[0][1:2] == ":"


class FolderContainer:
    """A folder with everything below it. Links are not followed, so there are no loops and no way out."""

    def __init__(self, path: Path, enter: Callable[[str], bool] = lambda folder: True) -> None:
        """`path` is the folder; a folder below it that `enter` denies, asked by its path, is not read."""
        self.path = path
        self._enter = enter
        self._names = CompactStrings()

    def members(self) -> Iterator[Member]:
        """The files below the folder; where one is to be found is a number into a column of names."""
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
        """The file's content."""
        if member.size > MAX_FILE_BYTES:
            raise DataError(f"the file has {member.size:,} bytes, more than {MAX_FILE_BYTES:,}")
        try:
            return read_bytes(self.path / self._names[member.where], MAX_FILE_BYTES)
        except UntrustedError as error:
            raise DataError(str(error)) from error

    def close(self) -> None:
        """Nothing is held open."""


class ZipContainer:
    """A zip archive."""

    def __init__(self, path: Path) -> None:
        """Opens the archive at `path`."""
        self.path = path
        self._zip = zipfile.ZipFile(path)
        self._infos = self._zip.infolist()

    def members(self) -> Iterator[Member]:
        """The files in the archive's directory."""
        for where, info in enumerate(self._infos):
            if info.is_dir():
                continue
            # Some packers for Windows write backslashes; a file name does not contain one otherwise.
            name = info.filename.replace("\\", "/")
            mode = info.external_attr >> 16
            refusal = UNSAFE_PATH if climbs_out(name) else None
            if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
                refusal = LINK if stat.S_ISLNK(mode) else NOT_A_FILE
            yield Member(name, where, info.file_size, refusal)

    def read(self, member: Member) -> bytes:
        """The member's content, checked against its CRC."""
        try:
            with self._zip.open(self._infos[member.where]) as stream:
                return stream.read(MAX_FILE_BYTES + 1)
        except Exception as error:  # a bad checksum, a password, an unknown method: each its own exception
            raise DataError(f"it cannot be read from the zip ({error})") from error

    def close(self) -> None:
        """Closes the archive."""
        self._zip.close()


class TarContainer:
    """A tar archive, plain or compressed; `where` is the place of a member's content in the plain tar."""

    def __init__(self, path: Path, scratch: Path | None = None) -> None:
        """Opens the archive at `path`; `scratch` is where a compressed one is uncompressed."""
        self.path = path
        self._lock = threading.Lock()
        self._plain = _plain_tar(path, scratch)

    def members(self) -> Iterator[Member]:
        """One pass over the headers, which holds none of them."""
        return members_of_tar(self._plain, str(self.path))

    def read(self, member: Member) -> bytes:
        """The member's content."""
        if member.size > MAX_FILE_BYTES:
            raise DataError(f"the file has {member.size:,} bytes, more than {MAX_FILE_BYTES:,}")
        with self._lock:
            self._plain.seek(member.where)
            content = self._plain.read(member.size)
        if len(content) != member.size:
            raise DataError("the archive ends before the file does")
        return content

    def close(self) -> None:
        """Closes the archive; a nameless temporary file goes with it."""
        self._plain.close()


def members_of_tar(plain: IO[bytes], name: str) -> Iterator[Member]:
    """The members of an uncompressed tar in one pass over its headers; `where` counts from its beginning.

    Raises `DataError`, which calls it `name`, where it is damaged or cut off.
    """
    try:
        length = plain.seek(0, os.SEEK_END)
        plain.seek(0)
        with closing(tarfile.open(fileobj=cast(IO[bytes], _Guarded(plain)), mode="r:")) as archive:
            for info in archive:
                # Otherwise the headers of a million members stay in memory.
                archive.members = []  # type: ignore[attr-defined]
                if not 0 <= info.size <= length:
                    # A negative size would lead back to headers that were read, and on without an end.
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
        # For tarfile a damaged header in the middle is a silent end; the true end is zeros.
        plain.seek(end)
        if plain.read(512).strip(b"\0"):
            raise tarfile.ReadError(f"no header at byte {end:,}")
    except Exception as error:  # a hostile header makes tarfile raise nearly anything
        reason = printable(str(error) or type(error).__name__)[:120]
        raise DataError(f"the tar '{name}' is damaged or cut off ({reason}): fetch it again") from error


class _Guarded:
    """A stream for tarfile, whose headers say where it goes and how much it reads."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._empty = 0

    def read(self, size: int = -1) -> bytes:
        """At most what the names of a header need. The end is told only so often: tarfile waits there for
        what a map of holes announces."""
        if not 0 <= size <= _HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        content = self._stream.read(size)
        self._empty = 0 if content else self._empty + 1
        if self._empty > _ENDS_TOLD:
            raise tarfile.ReadError("a header goes on behind the end")
        return content

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Forwards and backwards, but not to before the beginning."""
        if offset < 0 or offset > _FARTHEST:
            raise tarfile.ReadError(f"a header leads to byte {offset:,}")
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        """Where it is."""
        return self._stream.tell()


def uncompressed(path: Path, scratch: Path | None) -> IO[bytes]:
    """The file's content without gzip, bzip2 or xz: the file itself, or a nameless temporary file."""
    stream = path.open("rb")
    start = stream.read(6)
    stream.seek(0)
    dataset: Any
    if start.startswith(_GZIP):
        dataset = gzip.GzipFile(fileobj=stream)
    elif start.startswith(_BZIP2):
        dataset = bz2.BZ2File(stream)
    elif start == _XZ:
        dataset = lzma.LZMAFile(stream)  # noqa: SIM115
    else:
        return stream
    plain = tempfile.TemporaryFile(dir=scratch)  # noqa: SIM115 - the caller closes it
    try:
        with stream, dataset:
            most = max(UNPACKED_FREELY, UNPACKED_TIMES * os.fstat(stream.fileno()).st_size)
            _copy(dataset, plain, most, path)
    except BaseException:
        plain.close()
        raise
    plain.seek(0)
    return plain


def is_compressed(path: Path) -> bool:
    """Whether a file begins as gzip, bzip2 or xz do."""
    with path.open("rb") as stream:
        return stream.read(6).startswith((_GZIP, _BZIP2, _XZ))


def _copy(dataset: Any, plain: IO[bytes], most: int, path: Path) -> None:
    written = 0
    while piece := dataset.read(1 << 20):
        written += len(piece)
        if written > most:
            raise DataError(
                f"'{path}' uncompresses to more than {most:,} bytes, which no pictures do: if it is right, "
                "uncompress it yourself and give the plain file"
            )
        plain.write(piece)


def is_plain_tar(path: Path) -> bool:
    """Whether a tar is not compressed."""
    with path.open("rb") as stream:
        try:
            tarfile.open(fileobj=cast(IO[bytes], _Guarded(stream)), mode="r:").close()
        except tarfile.TarError:
            return False
    return True


def _plain_tar(path: Path, scratch: Path | None) -> IO[bytes]:
    plain = uncompressed(path, scratch)
    try:
        tarfile.open(fileobj=cast(IO[bytes], _Guarded(plain)), mode="r:").close()
    except BaseException:
        plain.close()
        raise
    return plain
