"""Reads arrays from untrusted `.npy` and `.npz` files.

Headers are parsed with regular expressions, never evaluated, and compared with the file size before memory is
allocated. Only numbers, booleans and texts are supported; no objects, no records.
"""

import re
import struct
import zipfile
from math import prod
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast, runtime_checkable

import numpy as np
import numpy.typing as npt

from kennel.data.free_memory import free_host_bytes
from kennel.storage.untrusted import as_data_error, leads_out

_MAX_HEADER_BYTES = 10_000
_MAX_DIMENSIONS = 8
_MAGIC = b"\x93NUMPY"
_DTYPE = re.compile(r"""['"]descr['"]\s*:\s*['"]([<>|=]?)([biufcU]|bool|\?)(\d{0,6})['"]""")
_ORDER = re.compile(r"""['"]fortran_order['"]\s*:\s*(True|False)""")
_SHAPE = re.compile(r"""['"]shape['"]\s*:\s*\(([0-9, L]*)\)""")
_DEFLATE_RATIO = 1_100  # Deflate compresses at most 1,032 times
_STORED, _DEFLATED, _ENCRYPTED = 0, 8, 1


class Header(NamedTuple):
    """The header of an `.npy` file; the data start at `offset`."""

    dtype: np.dtype[Any]
    fortran_order: bool
    shape: tuple[int, ...]
    offset: int

    @property
    def data_bytes(self) -> int:
        return prod(self.shape) * self.dtype.itemsize


@runtime_checkable
class Stream(Protocol):
    """A binary stream."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes."""


def read_header(stream: Stream) -> Header:
    """The header at the start of `stream`. Raises `ValueError` if it is not that of a plain array."""
    start = stream.read(8)
    if len(start) < 8 or not start.startswith(_MAGIC) or start[6] not in (1, 2, 3):
        raise ValueError("it does not begin as an npy file does")
    width = 2 if start[6] == 1 else 4
    (length,) = struct.unpack("<H" if width == 2 else "<I", stream.read(width).ljust(width, b"\0"))
    if length > _MAX_HEADER_BYTES:
        raise ValueError(f"its header has {length:,} bytes")
    text = stream.read(length).decode("latin-1")
    found = [pattern.search(text) for pattern in (_DTYPE, _ORDER, _SHAPE)]
    if len(text) < length or not all(found):
        raise ValueError("its header is not that of an array of numbers")
    dtype, order, shape = (match.groups() for match in found if match is not None)
    sides = tuple(int(side.rstrip("L")) for side in shape[0].replace(" ", "").split(",") if side[:19])
    if len(sides) > _MAX_DIMENSIONS or any(side >= 1 << 60 for side in sides):
        raise ValueError("its shape is impossible")
    try:
        kind = np.dtype("".join(dtype))
    except TypeError:
        raise ValueError(f"it holds {''.join(dtype)}, which is not a numeric type") from None
    if not kind.itemsize:
        raise ValueError("its texts have no length")
    return Header(kind, order[0] == "True", sides, 8 + width + length)


def open_npy(path: Path) -> npt.NDArray[Any]:
    """The memory-mapped array of an `.npy` file. Raises `ValueError` or `OSError` with a reason."""
    if leads_out(path):
        raise ValueError("it is a link that leads out of its folder")
    if not path.is_file():
        raise ValueError("it is not a file")
    with path.open("rb") as stream:
        header = read_header(stream)
        size = stream.seek(0, 2) - header.offset
        if size != header.data_bytes:
            raise ValueError(f"its header announces {header.data_bytes:,} bytes, but it has {size:,}")
    order = "F" if header.fortran_order else "C"
    if not header.data_bytes:
        return np.zeros(header.shape, header.dtype)
    mapped: npt.NDArray[Any] = np.memmap(path, header.dtype, "r", header.offset, header.shape, order)  # type: ignore[call-overload]
    return mapped


class NpzFile:
    """The arrays of an `.npz`, each read on request. Raises `DataError` for any problem."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with as_data_error(f"{path} cannot be read as an npz", "make it again"):
            self._zip = zipfile.ZipFile(path)
        self._members = {info.filename.removesuffix(".npy"): info for info in self._zip.infolist()}

    @property
    def names(self) -> list[str]:
        return list(self._members)

    def read(self, name: str) -> npt.NDArray[Any]:
        """One array, in memory."""
        with as_data_error(f"{self.path} cannot be read as an npz", "make it again"):
            return self._array(self._members[name])

    def _array(self, info: zipfile.ZipInfo) -> npt.NDArray[Any]:
        if info.flag_bits & _ENCRYPTED:
            raise ValueError("it is encrypted")
        if info.compress_type not in (_STORED, _DEFLATED):
            raise ValueError(f"it has compression method {info.compress_type}, which NumPy does not write")
        ratio = _DEFLATE_RATIO if info.compress_type == _DEFLATED else 1
        stored = min(info.compress_size, self.path.stat().st_size)
        with cast(zipfile.ZipExtFile, self._zip.open(info)) as stream:
            header = read_header(stream)
            size = header.data_bytes
            if size > stored * ratio:
                raise ValueError(f"its header announces {size:,} bytes, too many for {stored:,} stored bytes")
            if size + header.offset != info.file_size:
                raise ValueError(f"its header announces {size:,} bytes, the archive {info.file_size:,}")
            if size > (free := free_host_bytes()):
                raise ValueError(f"its {size:,} bytes do not fit into the {free:,} bytes of free memory")
            content = bytearray(size)
            view = memoryview(content)
            while view and (count := stream.readinto(view)):
                view = view[count:]
            if view or stream.read(1):
                raise ValueError("it is cut off")
        if not size:
            return np.zeros(header.shape, header.dtype)
        order: Any = "F" if header.fortran_order else "C"
        return np.frombuffer(content, header.dtype).reshape(header.shape, order=order)

    def __enter__(self) -> "NpzFile":
        return self

    def __exit__(self, *raised: object) -> None:
        self._zip.close()
