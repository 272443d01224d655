"""Tars in a tar, or side by side in a folder, one for each class, read as one container.

ImageNet is published so: ILSVRC2012_img_train.tar holds a thousand tars nXXXXXXXX.tar of JPEGs. Only the
headers of the tars that are wanted are read, and nothing is unpacked: a member is found by its place.
"""

import io
from array import array
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple

from kennel.data.sources.containers import Member, is_compressed, is_plain_tar, members_of_tar
from kennel.data.sources.decode import MAX_FILE_BYTES
from kennel.errors import DataError


class Stretch(NamedTuple):
    """A plain tar that is a stretch of a file, or all of it."""

    name: str
    """Its file name without `.tar`: the folder that its members are taken to lie in."""
    path: Path
    start: int
    size: int


def tars_inside(path: Path, wanted: Callable[[str], bool]) -> list[Stretch]:
    """The tars in the plain tar at `path` whose names without `.tar` are wanted, sorted by name.

    Raises `DataError` where it is compressed or damaged.
    """
    if not is_plain_tar(path):
        if is_compressed(path):
            raise DataError(f"'{path}' is a compressed tar of tars, which is only read plain: uncompress it")
        raise DataError(f"'{path}' cannot be read as a tar: it is damaged, or it is something else")
    with path.open("rb") as stream:
        return sorted(
            Stretch(stem, path, member.where, member.size)
            for member in members_of_tar(stream, str(path))
            if member.refusal is None and (stem := _stem(member.name)) is not None and wanted(stem)
        )


def tars_beside(folder: Path, wanted: Callable[[str], bool]) -> list[Stretch]:
    """The same for the tars that lie in a folder."""
    return sorted(
        Stretch(stem, path, 0, path.stat().st_size)
        for path in folder.iterdir()
        if (stem := _stem(path.name)) is not None and wanted(stem) and path.is_file()
    )


class NestedTars:
    """The members of some tars as one container."""

    def __init__(self, tars: Sequence[Stretch]) -> None:
        """`tars` as `tars_inside` or `tars_beside` found them."""
        self._tars = tars
        self._tar, self._where = array("l"), array("q")

    def members(self) -> Iterator[Member]:
        """One pass over the headers of every tar; a member of nX.tar is called nX/member."""
        self._tar, self._where = array("l"), array("q")
        for number, tar in enumerate(self._tars):
            with tar.path.open("rb") as stream:
                window = io.BufferedReader(_Window(stream, tar))
                for member in members_of_tar(window, window.name):
                    self._tar.append(number)
                    self._where.append(tar.start + member.where)
                    yield member._replace(name=f"{tar.name}/{member.name}", where=len(self._tar) - 1)

    def read(self, member: Member) -> bytes:
        """The member's content."""
        if member.size > MAX_FILE_BYTES:
            raise DataError(f"the file has {member.size:,} bytes, more than {MAX_FILE_BYTES:,}")
        try:
            with self._tars[self._tar[member.where]].path.open("rb") as stream:
                stream.seek(self._where[member.where])
                content = stream.read(member.size)
        except OSError as error:
            raise DataError(f"it cannot be read ({error.strerror})") from error
        if len(content) != member.size:
            raise DataError("the archive ends before the file does")
        return content

    def close(self) -> None:
        """Nothing is held open."""


class _Window(io.RawIOBase):
    """A stretch of a file, read as if it were a file."""

    mode = "rb"

    def __init__(self, stream: IO[bytes], tar: Stretch) -> None:
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
    """`n02085620` of `any/n02085620.tar`, None of what is no tar."""
    path = PurePosixPath(name.replace("\\", "/"))
    return path.stem if path.suffix == ".tar" else None
