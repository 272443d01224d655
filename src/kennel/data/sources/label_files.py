"""Labels that lie in a file beside the images, as other tools write them.

StyleGAN's `dataset.json`, Hugging Face's `metadata.csv` and `metadata.jsonl`, WebDataset's `.cls`, and a
table of names and labels that the user gives. A label becomes the name of a class; "" is no label.
"""

import csv
import io
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kennel.errors import DataError
from kennel.storage.untrusted import MAX_LINE_BYTES, UntrustedError, parse_json, printable, read_bytes

METADATA = ("metadata.csv", "metadata.jsonl")
STYLEGAN = "dataset.json"
MAX_BYTES = 64 << 20
_LONGEST = 200
_MOST_CLASSES = 32_768
_NAME_COLUMNS = (
    *("file_name", "filename", "file", "image", "image_id", "id", "name", "path", "filepath", "image_path"),
)
_LABEL_COLUMNS = ("label", "labels", "class", "class_name", "category", "target", "breed", "species")
_NO_LABELS = ("text", "caption", "prompt", "description")
_WHOLE = re.compile(r"(-?\d+)(?:\.0*)?")

Labels = dict[str, str]
"""A file's name as it is written there, to its class, "" where the file says that there is none."""


def parse_labels(content: bytes, name: str) -> Labels | None:
    """What a file of labels says, by the suffix of its `name`; None where it says that there are no labels,
    and nothing where it is of another kind, such as a table of captions.

    A `.json` holds `{"labels": [[name, label], ...]}` or `{"labels": {name: label, ...}}`, a `.jsonl` a
    mapping a line, anything else a table. Raises `DataError` in one sentence that names the file.
    """
    try:
        if len(content) > MAX_BYTES:
            raise UntrustedError(f"it has more than {MAX_BYTES:,} bytes")
        text = content.decode("utf-8-sig")
        suffix = name.lower().rpartition(".")[2]
        if suffix == "json":
            pairs = _of_json(text)
        else:
            pairs = _of_lines(text) if suffix == "jsonl" else _of_table(text)
        return None if pairs is None else _gathered(pairs)
    except UnicodeDecodeError:
        reason = "it is not UTF-8 text"
    except (UntrustedError, csv.Error) as error:
        reason = printable(str(error))
    raise DataError(
        f"the labels of '{printable(name)}' cannot be read ({reason}): mend it, or add --labels folders or "
        "--labels none"
    )


def read_labels(path: Path) -> Labels | None:
    """As `parse_labels`, of a file that the user names."""
    try:
        content = read_bytes(path, MAX_BYTES, named=True)
    except UntrustedError as error:
        raise DataError(
            f"--labels is '{path}', and {error}: give auto, folders, none, or a CSV of names and labels"
        ) from None
    return parse_labels(content, str(path))


def class_of(content: bytes) -> str:
    """The class that a `.cls` of WebDataset names. Raises `DataError`."""
    try:
        return _class(content[: 4 * _LONGEST].decode("utf-8-sig"))
    except (UnicodeDecodeError, UntrustedError) as error:
        raise DataError(f"its .cls cannot be read ({error})") from None


def _gathered(pairs: Iterator[tuple[str, Any]]) -> Labels:
    found: Labels = {}
    classes: set[str] = set()
    for given, value in pairs:
        # As paths are listed.
        name = unicodedata.normalize("NFC", printable(given)).replace("\\", "/").removeprefix("./")
        label = _class(value)
        if found.setdefault(name, label) != label:
            raise UntrustedError(f"'{name[:80]}' has two labels, {found[name]} and {label}")
        classes.add(label)
        if len(classes) > _MOST_CLASSES:
            raise UntrustedError(f"it has more than {_MOST_CLASSES:,} classes")
    return found


def _class(value: Any) -> str:
    """A label as the name of a class: whole numbers, texts, and lists with a single 1 (one-hot)."""
    if value is None:
        return ""
    if isinstance(value, list):
        if all(one in (0, 1) for one in value) and value.count(1) == 1:
            return str(value.index(1))
        raise UntrustedError("a label is a list that is not one-hot, such as [0, 1, 0]: kennel takes classes")
    if isinstance(value, dict):
        raise UntrustedError("a label is a mapping: kennel takes one class for each image")
    text = printable(str(value).strip())
    if len(text) > _LONGEST:
        raise UntrustedError(f"a label has {len(text)} letters, as captions have: kennel takes classes")
    if match := _WHOLE.fullmatch(text):
        return str(int(match[1]))
    if isinstance(value, float):
        raise UntrustedError(f"a label is {value:g}, a number with a fraction: kennel takes classes")
    return "" if text.lower() in ("nan", "none", "null") else text.replace("/", "\u2215")


def _of_json(text: str) -> Iterator[tuple[str, Any]] | None:
    content = parse_json(text)
    if not isinstance(content, dict) or "labels" not in content:
        return iter(())
    labels = content["labels"]
    if isinstance(labels, dict):
        return iter(labels.items())
    if not isinstance(labels, list | None):
        raise UntrustedError('it has no list under "labels"')
    return None if labels is None else _pairs(labels)


def _pairs(entries: list[Any]) -> Iterator[tuple[str, Any]]:
    for number, entry in enumerate(entries):
        if not (isinstance(entry, list) and len(entry) == 2 and isinstance(entry[0], str)):
            raise UntrustedError(f"entry {number} of its labels is no pair of a name and a label")
        yield entry[0], entry[1]


def _of_lines(text: str) -> Iterator[tuple[str, Any]]:
    """The name and label of each line; nothing where no line has a label."""
    rows = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        if len(line) > MAX_LINE_BYTES:
            raise UntrustedError(f"line {number} is too long")
        try:
            row = parse_json(line)
        except UntrustedError as error:
            raise UntrustedError(f"line {number}: {error}") from None
        if not isinstance(row, dict):
            raise UntrustedError(f"line {number} is no mapping")
        rows.append(row)
    columns = list(dict.fromkeys(key for row in rows for key in row))
    name, label = _column(columns, _NAME_COLUMNS), _column(columns, _LABEL_COLUMNS)
    if label is None:
        return iter(())
    if name is None or not all(isinstance(row.get(columns[name]), str) for row in rows):
        raise UntrustedError("not every line has a text under file_name")
    return iter([(row[columns[name]], row.get(columns[label])) for row in rows])


def _of_table(text: str) -> Iterator[tuple[str, Any]]:
    """By the columns that its first line names; two columns without such names are name and label.

    Nothing where the first line names columns, and none of them is of labels.
    """
    first = text.partition("\n")[0]
    delimiter = max(",\t; ", key=lambda one: (first.count(one) > 0, -",\t; ".index(one)))
    rows = [row for row in csv.reader(io.StringIO(text), delimiter=delimiter) if row]
    if not rows:
        raise UntrustedError("it is empty")
    header = [cell.strip() for cell in rows[0]]
    name, label = _column(header, _NAME_COLUMNS), _column(header, _LABEL_COLUMNS)
    if name is not None and label is not None and name != label:
        rows = rows[1:]
    elif name is not None and (len(header) != 2 or header[1].lower() in _NO_LABELS):
        return iter(())
    elif name is None and len(header) != 2:
        raise UntrustedError(
            f"it has {len(header)} columns: give two, name and label, or a first line with file_name and "
            "label"
        )
    else:
        rows = rows[1:] if name is not None else rows
        name, label = 0, 1
    short = next((row for row in rows if len(row) <= max(name, label)), None)
    if short is not None:
        raise UntrustedError(f"the line '{','.join(short)[:60]}' lacks a column")
    return iter([(row[name].strip(), row[label]) for row in rows])


def _column(names: list[str], wanted: tuple[str, ...]) -> int | None:
    lower = [name.lower() for name in names]
    return next((lower.index(name) for name in wanted if name in lower), None)
