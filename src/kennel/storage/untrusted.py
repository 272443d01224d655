"""Reading of untrusted files: size limits before parsing, printable text, no links out of a folder.

JSON and YAML give plain values: finite numbers, printable text, lists and mappings of bounded depth. Every
problem is an `UntrustedError`, a part of a sentence that the caller completes.
"""

import json
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from kennel.errors import DataError, KennelError

MAX_DEPTH = 32
"""Levels of nested lists and mappings."""
MAX_JSON_BYTES = 64 << 20
MAX_LINE_BYTES = 8 << 20
MAX_LINES_BYTES = 1 << 30
MAX_YAML_BYTES = 1 << 20
MAX_YAML_NODES = 100_000
MAX_DIGITS, MAX_JSON_DIGITS = 250, 1_000
"""Digits of a number in YAML and in JSON: Python's parsing time grows with their square."""

_TOKENS = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)
_NUMBER = re.compile(r"[-+0-9A-Fa-fxXoO._:]*")


class UntrustedError(KennelError):
    """A file cannot be read safely. The message gives the reason without the file's name."""


def printable(text: str, keep: str = "") -> str:
    """Escapes control characters, text directions and lone surrogates, except the characters in `keep`.

    A terminal acts on control characters: they move the cursor, change colors, send answers.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text)


def reason_of(error: BaseException, most: int = 120) -> str:
    """The error's text, else its type, printable and at most `most` characters long."""
    return printable(str(error) or type(error).__name__)[:most]


@contextmanager
def as_data_error(problem: str, remedy: str = "") -> Iterator[None]:
    """Any exception in the block becomes `DataError("problem (reason): remedy")`; a `DataError` is kept."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"{problem} ({reason_of(error)}){': ' if remedy else ''}{remedy}") from error


def leads_out(path: Path) -> bool:
    """Whether `path` is a link to a target outside its folder."""
    return path.is_symlink() and not path.resolve().is_relative_to(path.parent.resolve())


def read_bytes(path: Path, most: int, *, named: bool = False) -> bytes:
    """The content of a regular file of at most `most` bytes.

    Links out of the file's folder are refused, unless the user `named` the file. Raises `UntrustedError`.
    """
    try:
        if not named and leads_out(path):
            raise UntrustedError("it is a link that leads out of its folder")
        # Non-blocking, because opening a pipe without a writer would wait forever.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise UntrustedError("it is not a regular file")
            content = file.read(min(most, status.st_size) + 1)
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links; a name with a null byte
        raise UntrustedError(f"it cannot be read ({getattr(error, 'strerror', None) or error})") from None
    if len(content) > most:
        raise UntrustedError(f"it has more than {most:,} bytes")
    return content


def read_text(path: Path, most: int, *, named: bool = False) -> str:
    """The content of a UTF-8 text file. Raises as `read_bytes`, and if it is not UTF-8."""
    try:
        return read_bytes(path, most, named=named).decode("utf-8")
    except UnicodeDecodeError as error:
        raise UntrustedError(f"it is not UTF-8 text ({error.reason})") from None


def read_json(path: Path, most: int = MAX_JSON_BYTES, *, named: bool = False) -> Any:
    """The values of a JSON file. Raises as `read_text` and `parse_json`."""
    return parse_json(read_text(path, most, named=named))


def read_json_lines(path: Path) -> Iterator[Any]:
    """The values of each line. Lines that are too long or not JSON are skipped. Raises as `read_bytes`."""
    for line in read_bytes(path, MAX_LINES_BYTES).split(b"\n"):
        if line.strip() and len(line) <= MAX_LINE_BYTES:
            try:
                yield parse_json(line.decode("utf-8", "replace"))
            except UntrustedError:
                continue


def parse_json(text: str) -> Any:
    """Plain values of a JSON text, with printable text.

    Raises `UntrustedError` for anything else: NaN, infinities (1e999), integers of more than
    `MAX_JSON_DIGITS` digits, more than `MAX_DEPTH` levels.
    """
    depth = 0
    for token in _TOKENS.finditer(text):
        first = token.group()[0]
        if first in "[{":
            depth += 1
        elif first in "]}":
            depth -= 1
        if depth > MAX_DEPTH:
            raise UntrustedError(f"it is nested more than {MAX_DEPTH} deep")
    try:
        value = json.loads(text, parse_constant=_refuse, parse_int=_integer, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise UntrustedError(f"it is not JSON ({reason_of(error)})") from None
    return _clean(value)


def parse_yaml(text: str) -> Any:
    """Plain values of a YAML document, with printable text; aliases, which can expand, are refused."""
    import yaml  # slow to import, and every command imports this module

    if len(text) > MAX_YAML_BYTES:
        raise UntrustedError(f"it has more than {MAX_YAML_BYTES:,} characters")
    # libyaml is six times as fast; PyYAML may be built without it.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        _check_events(text, loader)
        return _clean(yaml.load(text, loader))
    except yaml.YAMLError as error:
        raise UntrustedError(f"it is not readable YAML: {printable(' '.join(str(error).split()))}") from None
    # A date of the 99th month, an empty `!!int`: PyYAML lets Python's own errors through.
    except (ValueError, LookupError, AttributeError, TypeError, ArithmeticError, RecursionError) as error:
        raise UntrustedError(f"it is not readable YAML: {reason_of(error)}") from None


def _check_events(text: str, loader: Any) -> None:
    """Checks limits on the event stream, without building values."""
    import yaml

    depth = 0
    for nodes, event in enumerate(yaml.parse(text, loader)):
        if isinstance(event, yaml.AliasEvent):
            raise UntrustedError("it has an alias (*name), which is not supported: write the value out")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.ScalarEvent):
            value = event.value
            if len(value) > MAX_DIGITS and _NUMBER.fullmatch(value):
                raise UntrustedError(f"it has a number of more than {MAX_DIGITS} digits")
        if depth > MAX_DEPTH:
            raise UntrustedError(f"it is nested more than {MAX_DEPTH} deep")
        if nodes > MAX_YAML_NODES:
            raise UntrustedError(f"it has more than {MAX_YAML_NODES:,} values")


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value, "\n\t")
    if isinstance(value, list):
        return [_clean(item) for item in value]
    if isinstance(value, dict):
        return {_clean(key): _clean(item) for key, item in value.items()}
    return value


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _integer(digits: str) -> int:
    if len(digits) > MAX_JSON_DIGITS:
        raise ValueError(f"a number of {len(digits):,} digits")
    return int(digits)


def _finite(digits: str) -> float:
    value = float(digits)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"{digits[:20]} is not finite")
    return value
