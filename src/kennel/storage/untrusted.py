"""Reading what somebody else may have written: bounded before it is parsed, and fit to be printed.

Nothing here follows a link out of the folder that a file lies in. What a file says is plain values: finite
numbers, texts without control characters, lists and mappings of a bounded depth. Whatever is wrong with a
file is an `UntrustedError`, a sentence's part that the caller completes with what to do.
"""

import json
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from kennel.errors import KennelError

MAX_DEPTH = 32
"""Lists and mappings within one another."""
MAX_JSON_BYTES = 64 << 20
MAX_LINE_BYTES = 8 << 20
MAX_LINES_BYTES = 1 << 30
MAX_YAML_BYTES = 1 << 20
MAX_YAML_NODES = 100_000
MAX_DIGITS, MAX_JSON_DIGITS = 250, 1_000
"""Of a number in YAML and in JSON: what is longer takes Python a time that grows with its square. A
number that fits no float is a schema's to refuse."""

_TOKENS = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)
_NUMBER = re.compile(r"[-+0-9A-Fa-fxXoO._:]*")


class UntrustedError(KennelError):
    """A file that cannot be read safely; the message says why, without the file's name."""


def printable(text: str, keep: str = "") -> str:
    """The text with control characters, directions and lone surrogates escaped, but for those in `keep`.

    A terminal obeys some control characters: it would move, recolour or answer.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text)


def leads_out(path: Path) -> bool:
    """Whether `path` is a link to something outside of the folder that it lies in."""
    return path.is_symlink() and not path.resolve().is_relative_to(path.parent.resolve())


def read_bytes(path: Path, most: int, *, named: bool = False) -> bytes:
    """A regular file's content. Raises `UntrustedError` for a link out of its folder, for a file of more than
    `most` bytes, and for what cannot be read. A link that the user has `named` is followed."""
    try:
        if not named and leads_out(path):
            raise UntrustedError("it is a link that leads out of its folder")
        # A pipe without a writer would be waited for without an end.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise UntrustedError("it is no regular file")
            content = file.read(min(most, status.st_size) + 1)
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links; a name with a zero byte
        raise UntrustedError(f"it cannot be read ({getattr(error, 'strerror', None) or error})") from None
    if len(content) > most:
        raise UntrustedError(f"it has more than {most:,} bytes")
    return content


def read_text(path: Path, most: int, *, named: bool = False) -> str:
    """A UTF-8 text file. Raises as `read_bytes`, and where it is no UTF-8."""
    try:
        return read_bytes(path, most, named=named).decode("utf-8")
    except UnicodeDecodeError as error:
        raise UntrustedError(f"it is not UTF-8 text ({error.reason})") from None


def read_json(path: Path, most: int = MAX_JSON_BYTES, *, named: bool = False) -> Any:
    """What a JSON file says. Raises as `read_text` and `parse_json`."""
    return parse_json(read_text(path, most, named=named))


def read_json_lines(path: Path) -> Iterator[Any]:
    """What each line of a file says; a line that is no JSON, or too long, is passed over.

    Raises as `read_bytes`.
    """
    for line in read_bytes(path, MAX_LINES_BYTES).split(b"\n"):
        if line.strip() and len(line) <= MAX_LINE_BYTES:
            try:
                yield parse_json(line.decode("utf-8", "replace"))
            except UntrustedError:
                continue


def parse_json(text: str) -> Any:
    """Plain values of a JSON text, every text in it printable.

    Raises `UntrustedError` for anything else, NaN, infinities (1e999), whole numbers of more than
    `MAX_JSON_DIGITS` digits, and more than `MAX_DEPTH` levels.
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
        found = json.loads(text, parse_constant=_refused, parse_int=_whole, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise UntrustedError(f"it is no JSON ({printable(str(error))[:120]})") from None
    return _cleaned(found)


def parse_yaml(text: str) -> Any:
    """Plain values of a YAML text of one document without aliases, every text in it printable.

    Aliases are refused, since a few lines of them stand for more values than fit into any memory. Raises
    `UntrustedError`.
    """
    import yaml  # late: each command prints through this module, and few read YAML

    if len(text) > MAX_YAML_BYTES:
        raise UntrustedError(f"it has more than {MAX_YAML_BYTES:,} characters")
    # libyaml's is six times as fast, where PyYAML was built with it.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        _check_events(text, loader)
        return _cleaned(yaml.load(text, loader))
    except yaml.YAMLError as error:
        raise UntrustedError(f"it is not readable YAML: {printable(' '.join(str(error).split()))}") from None
    # A date of the 99th month, an empty `!!int`: PyYAML lets through what Python says.
    except (ValueError, LookupError, AttributeError, TypeError, ArithmeticError, RecursionError) as error:
        raise UntrustedError(f"it is not readable YAML: {printable(str(error))[:120]}") from None


def _check_events(text: str, loader: Any) -> None:
    """Goes through the text without building anything of it."""
    import yaml

    depth = 0
    for nodes, event in enumerate(yaml.parse(text, loader)):
        if isinstance(event, yaml.AliasEvent):
            raise UntrustedError("it has an alias (*name), which is not read: write the value out")
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


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value, "\n\t")
    if isinstance(value, list):
        return [_cleaned(one) for one in value]
    if isinstance(value, dict):
        return {_cleaned(key): _cleaned(one) for key, one in value.items()}
    return value


def _refused(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _whole(digits: str) -> int:
    if len(digits) > MAX_JSON_DIGITS:
        raise ValueError(f"a number of {len(digits):,} digits")
    return int(digits)


def _finite(digits: str) -> float:
    value = float(digits)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"{digits[:20]} is not finite")
    return value
