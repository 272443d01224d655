"""CIFAR's archive for Python is made of pickles: the one place where kennel reads any, and only as data.

A pickle is a program. Before it is run its operations are gone through: those that CIFAR's files need are
allowed and no others, and their count and numbers are bounded. The names that it may call are then those by
which NumPy's arrays and Python 3's bytes are written, and they mean functions of this file, which take notes
and do nothing. Whatever else it names is refused; nothing that it names is ever imported or called.
"""

import io
import pickle
import pickletools
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from kennel.errors import DataError
from kennel.storage.untrusted import printable

MAX_BYTES = 256 << 20
"""CIFAR-10's five parts have 31 MB each."""

_OPERATIONS = frozenset(
    (
        *("PROTO", "FRAME", "STOP", "MARK", "POP", "POP_MARK", "MEMOIZE"),
        *("PUT", "BINPUT", "LONG_BINPUT", "GET", "BINGET", "LONG_BINGET"),
        *("NONE", "NEWTRUE", "NEWFALSE", "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1"),
        *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
        *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
        *("EMPTY_DICT", "DICT", "SETITEM", "SETITEMS", "EMPTY_LIST", "LIST", "APPEND", "APPENDS"),
        *("EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"),
        *("GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD"),
    )
)
_TUPLES = frozenset(("EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"))
_MOST_OPERATIONS, _MOST_TUPLES = 1 << 20, 12_000
"""10,000 pictures need a tenth of the first. Python takes the hash of tuples within tuples by recursion
without a limit, which is why these are few: Python 3 writes one for each file's name."""
_PLACES = frozenset(("PUT", "BINPUT", "LONG_BINPUT"))
"""Operations that name a place to keep something in: all places below it are made."""


class _Name:
    """What stands for a name: it can be called, and nothing about it can be changed."""

    __slots__ = ("_does",)

    def __init__(self, does: Callable[..., Any]) -> None:
        self._does = does

    def __call__(self, *given: Any) -> Any:
        return self._does(*given)

    def __setstate__(self, state: Any) -> None:
        """Where this were missing, an unpickler would set attributes of a function instead."""
        raise DataError("it changes what it may only call")


class _Array:
    """What is written of an array; `value` makes it one."""

    def __init__(self) -> None:
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def value(self) -> npt.NDArray[np.uint8]:
        """The array of unsigned bytes. Raises `DataError` where it is another, or its parts do not fit."""
        match self.state:
            case (
                int(),
                tuple() as shape,
                _Kind() as kind,
                bool() | 0 | 1 as columns_first,
                bytes() as content,
            ):
                pass
            case _:
                raise DataError("an array in it is not written as NumPy writes them")
        if kind.name not in ("u1", "uint8", "|u1") or len(shape) > 4:
            raise DataError("an array in it is not one of unsigned bytes")
        if not all(type(side) is int and 0 <= side <= MAX_BYTES for side in shape):
            raise DataError("an array in it has a shape that none can have")
        count = 1
        for side in shape:
            count *= side
        if count != len(content):
            raise DataError(f"an array in it announces {count:,} bytes and has {len(content):,}")
        return np.frombuffer(content, np.uint8).reshape(shape, order="F" if columns_first else "C")


class _Kind:
    """What is written of a dtype: its name, and a state that says nothing of bytes."""

    def __init__(self, name: Any, *_: Any) -> None:
        self.name = name.decode("latin1") if isinstance(name, bytes) else name

    def __setstate__(self, state: Any) -> None:
        """Byte order and the like."""


def _array(*_: Any) -> _Array:
    return _Array()


def _latin1(text: Any, encoding: Any) -> bytes:
    """How protocol 2 of Python 3 writes bytes."""
    if not isinstance(text, str) or encoding not in ("latin1", b"latin1"):
        raise DataError("it encodes text otherwise than bytes are written")
    return text.encode("latin1")


_NAMES = {
    ("numpy.core.multiarray", "_reconstruct"): _Name(_array),
    ("numpy._core.multiarray", "_reconstruct"): _Name(_array),
    ("numpy", "ndarray"): _Name(_array),
    ("numpy", "dtype"): _Name(_Kind),
    ("_codecs", "encode"): _Name(_latin1),
}


class _RestrictedUnpickler(pickle.Unpickler):
    """An unpickler for which only `_NAMES` exist."""

    def find_class(self, module: str, name: str) -> Any:
        """What stands for the name. Raises `DataError` for any other: it would be a program."""
        if (module, name) not in _NAMES:
            asked = printable(f"{module[:60]}.{name[:60]}")
            raise DataError(f"it asks for {asked}, and it may only hold arrays, bytes and numbers")
        return _NAMES[module, name]


def read_arrays(content: bytes) -> dict[str, Any]:
    """The dictionary that a pickle holds, its keys as text, its arrays as uint8; nothing in it is executed.

    Raises `DataError`, a reason that does not name the file, for anything but dictionaries, lists, tuples,
    bytes, text, integers and arrays of unsigned bytes.
    """
    if len(content) > MAX_BYTES:
        raise DataError(f"it has {len(content):,} bytes, more than {MAX_BYTES:,}")
    try:
        _check_operations(content)
        found = _RestrictedUnpickler(io.BytesIO(content), encoding="bytes").load()
    except DataError:
        raise
    except Exception as error:  # hostile bytes make an unpickler raise anything at all
        raise DataError(f"it is damaged, or no pickle of arrays ({type(error).__name__})") from error
    if not isinstance(found, dict):
        raise DataError("it holds no dictionary")
    return {_text(key): one.value() if isinstance(one, _Array) else one for key, one in found.items()}


def _check_operations(content: bytes) -> None:
    """Goes through the program without running it. Raises `DataError` where it is more than data."""
    tuples = 0
    for number, (operation, argument, _) in enumerate(pickletools.genops(content)):
        tuples += operation.name in _TUPLES
        if operation.name not in _OPERATIONS:
            raise DataError(f"it has the operation {operation.name}, which no set of arrays needs")
        if number > _MOST_OPERATIONS or tuples > _MOST_TUPLES:
            raise DataError("it has more operations than a set of arrays needs")
        if operation.name in _PLACES and not 0 <= int(argument or 0) <= number:
            raise DataError(f"it keeps something in place {argument:,} of {number:,}")


def _text(key: Any) -> str:
    if isinstance(key, bytes):
        return key.decode("latin1")
    if not isinstance(key, str):
        raise DataError("a key of its dictionary is no text")
    return key
