"""Several tars, inside one tar or in a folder, read as one container.

ImageNet is published so: ILSVRC2012_img_train.tar contains a thousand tars nXXXXXXXX.tar of JPEGs. Only the
headers of the selected tars are read, and nothing is unpacked.
"""

import io
from array import array
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple

from kennel.data.sources.containers import (
    Container,
    Member,
    is_compressed,
    is_plain_tar,
    members_of_tar,
    read_stored,
)
from kennel.errors import DataError


class TarSlice(NamedTuple):
    """A plain tar in a part of a file. `name`, without `.tar`, is the folder of its members."""

    name: str
    path: Path
    start: int
    size: int


def tars_in_tar(path: Path, selected: Callable[[str], bool]) -> list[TarSlice]:
    """The selected tars in a plain tar, by names without `.tar`, sorted. Raises `DataError`."""
    if not is_plain_tar(path):
        if is_compressed(path):
            raise DataError(f"'{path}' is a compressed tar of tars, which is not supported: uncompress it")
        raise DataError(f"'{path}' cannot be read as a tar: it is damaged, or it is something else")
    with path.open("rb") as stream:
        return sorted(
            TarSlice(stem, path, member.where, member.size)
            for member in members_of_tar(stream, str(path))
            if member.refusal is None and (stem := _stem(member.name)) is not None and selected(stem)
        )


def tars_in_folder(folder: Path, selected: Callable[[str], bool]) -> list[TarSlice]:
    """The selected tars in a folder, by names without `.tar`, sorted."""
    return sorted(
        TarSlice(stem, path, 0, path.stat().st_size)
        for path in folder.iterdir()
        if (stem := _stem(path.name)) is not None and selected(stem) and path.is_file()
    )


class NestedTars(Container):
    """The members of some tars as one container; a member of nX.tar is named nX/member."""

    def __init__(self, tars: Sequence[TarSlice]) -> None:
        self._tars = tars
        self._tar, self._where = array("l"), array("q")

    def members(self) -> Iterator[Member]:
        self._tar, self._where = array("l"), array("q")
        for number, tar in enumerate(self._tars):
            with tar.path.open("rb") as stream:
                window = io.BufferedReader(_Window(stream, tar))
                for member in members_of_tar(window, window.name):
                    self._tar.append(number)
                    self._where.append(tar.start + member.where)
                    yield member._replace(name=f"{tar.name}/{member.name}", where=len(self._tar) - 1)

    def read(self, member: Member) -> bytes:
        try:
            with self._tars[self._tar[member.where]].path.open("rb") as stream:
                return read_stored(stream, self._where[member.where], member.size)
        except OSError as error:
            raise DataError(f"it cannot be read ({error.strerror})") from error


class _Window(io.RawIOBase):
    """A part of a file, read like a file."""

    mode = "rb"

    def __init__(self, stream: IO[bytes], tar: TarSlice) -> None:
        self.name = f"{tar.name}.tar" if tar.start else str(tar.path)
        self._stream, self._start, self._size = stream, tar.start, tar.size
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if offset < 0 and whence == io.SEEK_SET:
            raise OSError("before the beginning")
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        self._stream.seek(self._start + self._at)
        content = self._stream.read(max(0, min(len(buffer), self._size - self._at)))
        buffer[: len(content)] = content
        self._at += len(content)
        return len(content)


def _stem(name: str) -> str | None:
    """`n02085620` of `any/n02085620.tar`; None if it is not a tar."""
    path = PurePosixPath(name.replace("\\", "/"))
    return path.stem if path.suffix == ".tar" else None
