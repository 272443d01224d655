"""Label files of other tools, and their labels for the images of a source.

StyleGAN's `dataset.json`, Hugging Face's `metadata.csv` and `metadata.jsonl`, WebDataset's `.cls`, and tables
of names and labels. A label becomes the name of a class; "" is no label.
"""

import csv
import io
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kennel.data.sources.compact_index import CompactStrings, FileIndex
from kennel.data.sources.containers import Container, Member
from kennel.data.sources.layouts import LayoutOptions
from kennel.errors import DataError
from kennel.storage.untrusted import MAX_LINE_BYTES, UntrustedError, parse_json, printable, read_bytes

METADATA = ("metadata.csv", "metadata.jsonl")
STYLEGAN = "dataset.json"
MAX_BYTES = 64 << 20
_MAX_LENGTH = 200
_MAX_CLASSES = 32_768
_NAME_COLUMNS = (
    *("file_name", "filename", "file", "image", "image_id", "id", "name", "path", "filepath", "image_path"),
)
_LABEL_COLUMNS = ("label", "labels", "class", "class_name", "category", "target", "breed", "species")
_CAPTION_COLUMNS = ("text", "caption", "prompt", "description")
_INTEGER = re.compile(r"(-?\d+)(?:\.0*)?")

Labels = dict[str, str]
"""File names and their classes."""


def parse_labels(content: bytes, name: str) -> Labels | None:
    """The labels in a file, parsed by the suffix of its `name`.

    None if it declares that there are no labels; empty if it is of another kind, such as a table of captions.
    A `.json` has `{"labels": [[name, label], ...]}` or `{"labels": {name: label, ...}}`, a `.jsonl` one
    mapping per line, other files are tables. Raises `DataError` with the file's name.
    """
    try:
        if len(content) > MAX_BYTES:
            raise UntrustedError(f"it has more than {MAX_BYTES:,} bytes")
        text = content.decode("utf-8-sig")
        suffix = name.lower().rpartition(".")[2]
        pairs = {"json": _parse_json, "jsonl": _parse_json_lines}.get(suffix, _parse_table)(text)
        return None if pairs is None else _collect(pairs)
    except UnicodeDecodeError:
        reason = "it is not UTF-8 text"
    except (UntrustedError, csv.Error) as error:
        reason = printable(str(error))
    raise DataError(
        f"the labels of '{printable(name)}' cannot be read ({reason}): fix it, or add --labels folders or "
        "--labels none"
    )


def read_labels(path: Path) -> Labels | None:
    """`parse_labels` of the user's file."""
    try:
        content = read_bytes(path, MAX_BYTES, named=True)
    except UntrustedError as error:
        raise DataError(
            f"--labels is '{path}', but {error}: give auto, folders, none, or a CSV of names and labels"
        ) from None
    return parse_labels(content, str(path))


def class_of(content: bytes) -> str:
    """The class in a `.cls` file of WebDataset. Raises `DataError`."""
    try:
        return _class(content[: 4 * _MAX_LENGTH].decode("utf-8-sig"))
    except (UnicodeDecodeError, UntrustedError) as error:
        raise DataError(f"its .cls cannot be read ({error})") from None


def _collect(pairs: Iterable[tuple[str, Any]]) -> Labels:
    found: Labels = {}
    classes: set[str] = set()
    for given, value in pairs:
        # Normalized like the paths of a collection.
        name = unicodedata.normalize("NFC", printable(given)).replace("\\", "/").removeprefix("./")
        label = _class(value)
        if found.setdefault(name, label) != label:
            raise UntrustedError(f"'{name[:80]}' has two labels, {found[name]} and {label}")
        classes.add(label)
        if len(classes) > _MAX_CLASSES:
            raise UntrustedError(f"it has more than {_MAX_CLASSES:,} classes")
    return found


def _class(value: Any) -> str:
    """The class name of a label: an integer, a text, or a one-hot list."""
    if value is None:
        return ""
    if isinstance(value, list):
        if all(item in (0, 1) for item in value) and value.count(1) == 1:
            return str(value.index(1))
        raise UntrustedError("a label is a list but not one-hot, such as [0, 1, 0]: kennel needs classes")
    if isinstance(value, dict):
        raise UntrustedError("a label is a mapping: kennel needs one class for each image")
    text = printable(str(value).strip())
    if len(text) > _MAX_LENGTH:
        raise UntrustedError(f"a label has {len(text)} letters, like a caption: kennel needs classes")
    if match := _INTEGER.fullmatch(text):
        return str(int(match[1]))
    if isinstance(value, float):
        raise UntrustedError(f"a label is {value:g}, a number with a fraction: kennel needs classes")
    return "" if text.lower() in ("nan", "none", "null") else text.replace("/", "\u2215")


def _parse_json(text: str) -> Iterable[tuple[str, Any]] | None:
    content = parse_json(text)
    if not isinstance(content, dict) or "labels" not in content:
        return ()
    labels = content["labels"]
    if labels is None:
        return None
    if isinstance(labels, dict):
        return labels.items()
    if not isinstance(labels, list):
        raise UntrustedError('it has no list under "labels"')
    for number, entry in enumerate(labels):
        if not (isinstance(entry, list) and len(entry) == 2 and isinstance(entry[0], str)):
            raise UntrustedError(f"entry {number} of its labels is not a pair of a name and a label")
    return [(name, label) for name, label in labels]


def _parse_json_lines(text: str) -> Iterable[tuple[str, Any]]:
    """The name and label of each line; nothing if no line has a label."""
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
            raise UntrustedError(f"line {number} is not a mapping")
        rows.append(row)
    columns = list(dict.fromkeys(key for row in rows for key in row))
    name, label = _column(columns, _NAME_COLUMNS), _column(columns, _LABEL_COLUMNS)
    if label is None:
        return ()
    if name is None or not all(isinstance(row.get(columns[name]), str) for row in rows):
        raise UntrustedError("not every line has a text under file_name")
    return [(row[columns[name]], row.get(columns[label])) for row in rows]


def _parse_table(text: str) -> Iterable[tuple[str, Any]]:
    """(name, label) of each row; two unnamed columns are name and label. Empty without a column of labels."""
    first = text.partition("\n")[0]
    delimiter = next((one for one in ",\t; " if one in first), ",")
    rows = [row for row in csv.reader(io.StringIO(text), delimiter=delimiter) if row]
    if not rows:
        raise UntrustedError("it is empty")
    header = [cell.strip() for cell in rows[0]]
    name, label = _column(header, _NAME_COLUMNS), _column(header, _LABEL_COLUMNS)
    if name is not None and label is not None and name != label:
        rows = rows[1:]
    elif name is not None and (len(header) != 2 or header[1].lower() in _CAPTION_COLUMNS):
        return ()
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
    return [(row[name].strip(), row[label]) for row in rows]


def _column(names: list[str], candidates: tuple[str, ...]) -> int | None:
    lower = [name.lower() for name in names]
    return next((lower.index(name) for name in candidates if name in lower), None)


@dataclass(frozen=True)
class LabelSource:
    """The origin of the classes.

    `name` is for messages. `class_of` maps an image's path to its class, "" for none, or raises `DataError`.
    `unconditional`: the file declares that there are no labels.
    """

    name: str
    class_of: Callable[[str], str]
    unconditional: bool = False


class LabelFiles:
    """The label files among the members of some containers. `used` is set if labels come from a file."""

    def __init__(self, containers: Sequence[Container]) -> None:
        self._containers = containers
        self._tables: list[tuple[str, int, Member]] = []
        self._stems, self._places = CompactStrings(), FileIndex()
        self.used = False

    def take(self, path: str, container: int, member: Member) -> bool:
        """Whether the member is a label file, which is then recorded."""
        name = path.rpartition("/")[2]
        if name == STYLEGAN or name in METADATA:
            self._tables.append((path, container, member))
            return True
        if not name.lower().endswith(".cls"):
            return False
        self._stems.append(_stem(path))
        self._places.add(container, member.where, member.size)
        return True

    def find(self, options: LayoutOptions, paths: CompactStrings) -> tuple[LabelSource | None, list[str]]:
        """The label source of the images at `paths`, None for their folders; and notes."""
        if options.labels in ("folders", "none"):
            return None, []
        found = self._among(paths) if options.labels == "auto" else _given(options, paths)
        if not isinstance(found, LabelSource):
            return None, [found] if found else []
        self.used = True
        if found.unconditional:
            return found, [f"no classes: {found.name} declares that there are no labels"]
        return found, [f"the classes are those of {found.name}"]

    def _among(self, paths: CompactStrings) -> LabelSource | str | None:
        """The label source in the containers; a note if its files have no labels; None without files."""
        labels: Labels = {}
        names: list[str] = []
        without_labels: list[str] = []
        unlabelled = False
        for path, container, member in self._tables:
            if member.size > MAX_BYTES:
                raise DataError(
                    f"'{path}' has more than {MAX_BYTES:,} bytes: add --labels folders or --labels none"
                )
            parsed = parse_labels(self._containers[container].read(member), path)
            folder = path[: len(path) - len(path.rpartition("/")[2])]
            unlabelled = unlabelled or parsed is None
            (names if parsed else without_labels).append(path)
            labels |= {folder + name: label for name, label in (parsed or {}).items()}
        if labels and any(path in labels for path in paths):
            return LabelSource(" and ".join(names[:3]), lambda path: labels.get(path, ""))
        if unlabelled:
            return LabelSource(without_labels[0], lambda path: "", unconditional=True)
        if len(self._stems):
            places = {stem: index for index, stem in enumerate(self._stems)}
            return LabelSource("the .cls files", lambda path: self._of_cls(places.get(_stem(path))))
        if names:
            return f"{names[0]} is not used: it names none of the images"
        return f"{without_labels[0]} is not used: it has no labels" if without_labels else None

    def _of_cls(self, index: int | None) -> str:
        if index is None:
            return ""
        member = Member("", self._places.where[index], self._places.size[index])
        return class_of(self._containers[self._places.container[index]].read(member))


def _given(options: LayoutOptions, paths: CompactStrings) -> LabelSource:
    """The user's label file; it names images by path or file name, with or without a suffix."""
    labels = read_labels(Path(options.labels))
    if labels is None:
        return LabelSource(options.labels, lambda path: "", unconditional=True)
    if not labels:
        raise DataError(f"--labels '{options.labels}' has no column of labels: give a CSV of name and label")
    ends: dict[str, str] = {}
    shared: set[str] = set()
    for path in paths:
        for end in _ends(path):
            if ends.setdefault(end, path) != path:
                shared.add(end)

    def class_of_path(path: str) -> str:
        for end in _ends(path):
            if end in labels:
                if end in shared:
                    raise DataError(f"several images match '{end}' in {options.labels}")
                return labels[end]
        return ""

    if not any(end in labels for end in ends):
        raise DataError(
            f"--labels '{options.labels}' names none of the images of '{options.source}': it has "
            f"'{next(iter(labels))}', and the images have names such as '{next(iter(paths), 'nothing')}'"
        )
    return LabelSource(options.labels, class_of_path)


def _ends(path: str) -> list[str]:
    """The path with fewer and fewer of its first folders, then all of these without a suffix."""
    parts = path.split("/")
    ends = ["/".join(parts[start:]) for start in range(len(parts))]
    return ends + [end.rpartition(".")[0] for end in ends]


def _stem(path: str) -> str:
    """The path up to the first dot of the file name, by which WebDataset groups files."""
    folder, slash, name = path.rpartition("/")
    return folder + slash + name.partition(".")[0]
