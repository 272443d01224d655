"""Reads the pickles in CIFAR's Python archive as data; kennel reads no others.

A pickle is a program. First its operations are checked: only those that CIFAR's files need are allowed, in
bounded numbers. Then it is loaded with replacements for the names that NumPy arrays and Python 3 bytes use;
the replacements are in this file and only record data. Other names are refused. Nothing that a pickle names
is imported or called.
"""

import io
import pickle
import pickletools
from collections.abc import Callable
from math import prod
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
_MAX_OPERATIONS, _MAX_TUPLES = 1 << 20, 12_000
"""10,000 images need a tenth of the operations. Tuples are few because Python hashes nested tuples by
unlimited recursion; Python 3 writes one for each file name."""
_MEMO_OPERATIONS = frozenset(("PUT", "BINPUT", "LONG_BINPUT"))
"""Operations with a memo index: memory is allocated for all smaller indices."""


class _Name:
    """The replacement of a name: callable and immutable."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)

    def __setstate__(self, state: Any) -> None:
        """Needed because an unpickler would otherwise set attributes."""
        raise DataError("it changes a name that it may only call")


class _Array:
    """The pickled state of an array; `value` converts it."""

    def __init__(self) -> None:
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def value(self) -> npt.NDArray[np.uint8]:
        """The array of unsigned bytes. Raises `DataError` for another type or inconsistent parts."""
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
            raise DataError("an array in it does not have unsigned bytes")
        if not all(type(side) is int and 0 <= side <= MAX_BYTES for side in shape):
            raise DataError("an array in it has an impossible shape")
        count = prod(shape)
        if count != len(content):
            raise DataError(f"an array in it announces {count:,} bytes and has {len(content):,}")
        return np.frombuffer(content, np.uint8).reshape(shape, order="F" if columns_first else "C")


class _Kind:
    """The pickled state of a dtype: its name; the rest does not matter for bytes."""

    def __init__(self, name: Any, *_: Any) -> None:
        self.name = name.decode("latin1") if isinstance(name, bytes) else name

    def __setstate__(self, state: Any) -> None:
        """Ignores byte order and the like."""


def _latin1(text: Any, encoding: Any) -> bytes:
    """Protocol 2 of Python 3 writes bytes so."""
    if not isinstance(text, str) or encoding not in ("latin1", b"latin1"):
        raise DataError("it encodes text in another way than bytes are written")
    return text.encode("latin1")


_NAMES = {
    ("numpy.core.multiarray", "_reconstruct"): _Name(lambda *_: _Array()),
    ("numpy._core.multiarray", "_reconstruct"): _Name(lambda *_: _Array()),
    ("numpy", "ndarray"): _Name(lambda *_: _Array()),
    ("numpy", "dtype"): _Name(_Kind),
    ("_codecs", "encode"): _Name(_latin1),
}


class _RestrictedUnpickler(pickle.Unpickler):
    """An unpickler that only finds `_NAMES`."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _NAMES:
            refused = printable(f"{module[:60]}.{name[:60]}")
            raise DataError(f"it uses {refused}, but it may only hold arrays, bytes and numbers")
        return _NAMES[module, name]


def read_arrays(content: bytes) -> dict[str, Any]:
    """The dictionary in a pickle, with text keys and uint8 arrays; nothing in it is executed.

    Raises `DataError` with a reason, without the file's name, for anything but dictionaries, lists, tuples,
    bytes, text, integers and arrays of unsigned bytes.
    """
    if len(content) > MAX_BYTES:
        raise DataError(f"it has {len(content):,} bytes, more than {MAX_BYTES:,}")
    try:
        _check_operations(content)
        found = _RestrictedUnpickler(io.BytesIO(content), encoding="bytes").load()
    except DataError:
        raise
    except Exception as error:  # damaged files make an unpickler raise nearly anything
        raise DataError(f"it is damaged or not a pickle of arrays ({type(error).__name__})") from error
    if not isinstance(found, dict):
        raise DataError("it is not a dictionary")
    return {_text(key): value.value() if isinstance(value, _Array) else value for key, value in found.items()}


def _check_operations(content: bytes) -> None:
    """Checks the program without running it. Raises `DataError` if it is more than data."""
    tuples = 0
    for number, (operation, argument, _) in enumerate(pickletools.genops(content)):
        tuples += operation.name in _TUPLES
        if operation.name not in _OPERATIONS:
            raise DataError(f"it has the operation {operation.name}, which arrays do not need")
        if number > _MAX_OPERATIONS or tuples > _MAX_TUPLES:
            raise DataError("it has more operations than arrays need")
        if operation.name in _MEMO_OPERATIONS and not 0 <= int(argument or 0) <= number:
            raise DataError(f"it uses memo index {argument:,} after {number:,} operations")


def _text(key: Any) -> str:
    if isinstance(key, bytes):
        return key.decode("latin1")
    if not isinstance(key, str):
        raise DataError("a key of its dictionary is not text")
    return key
