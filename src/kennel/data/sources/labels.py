"""The files of labels in a source, or the one that the user gives, held against the pictures."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kennel.data.sources.compact_index import CompactStrings, FileIndex
from kennel.data.sources.containers import Container, Member
from kennel.data.sources.label_files import (
    MAX_BYTES,
    METADATA,
    STYLEGAN,
    Labels,
    class_of,
    parse_labels,
    read_labels,
)
from kennel.data.sources.layouts import Asked
from kennel.errors import DataError


@dataclass(frozen=True)
class Found:
    """Where the classes come from."""

    name: str
    """Of the file, for messages."""
    class_of: Callable[[str], str]
    """A picture's path to its class, "" for none. Raises `DataError`."""
    unconditional: bool = False
    """Whether the file says that there are no labels."""


class LabelFiles:
    """The files of labels among the members of some containers."""

    def __init__(self, containers: Sequence[Container]) -> None:
        """None yet."""
        self._containers = containers
        self._tables: list[tuple[str, int, Member]] = []
        self._stems, self._places = CompactStrings(), FileIndex()
        self.used = False

    def take(self, path: str, container: int, member: Member) -> bool:
        """Whether the member is a file of labels, which is then remembered."""
        name = path.rpartition("/")[2]
        if name == STYLEGAN or name in METADATA:
            self._tables.append((path, container, member))
            return True
        if not name.lower().endswith(".cls"):
            return False
        self._stems.append(_stem(path))
        self._places.add(container, member.where, member.size)
        return True

    def found(self, asked: Asked, paths: CompactStrings) -> tuple[Found | None, list[str]]:
        """What gives the classes of the pictures at `paths`, None where their folders are to, and notes.

        Raises `DataError` where a file cannot be read, or the one that is given says nothing of them.
        """
        if asked.labels in ("folders", "none"):
            return None, []
        found = self._among(paths) if asked.labels == "auto" else _given(asked, paths)
        if not isinstance(found, Found):
            return None, [found] if found else []
        self.used = True
        if found.unconditional:
            return found, [f"no classes: {found.name} says that there are no labels"]
        return found, [f"the classes are those of {found.name}"]

    def _among(self, paths: CompactStrings) -> Found | str | None:
        """What the files in the source give, a note where they say nothing, None without any."""
        labels: Labels = {}
        names: list[str] = []
        silent: list[str] = []
        unlabelled = False
        for path, container, member in self._tables:
            if member.size > MAX_BYTES:
                raise DataError(
                    f"'{path}' has more than {MAX_BYTES:,} bytes: add --labels folders or --labels none"
                )
            said = parse_labels(self._containers[container].read(member), path)
            folder = path[: len(path) - len(path.rpartition("/")[2])]
            unlabelled = unlabelled or said is None
            here = {folder + name: label for name, label in (said or {}).items()}
            (names if here else silent).append(path)
            labels |= here
        if labels and any(path in labels for path in paths):
            return Found(" and ".join(names[:3]), lambda path: labels.get(path, ""))
        if unlabelled:
            return Found(silent[0], lambda path: "", unconditional=True)
        if len(self._stems):
            places = {stem: index for index, stem in enumerate(self._stems)}
            return Found("the .cls files", lambda path: self._of_cls(places.get(_stem(path))))
        if names or silent:
            why = "names no image that is here" if names else "has no labels"
            return f"{(names or silent)[0]} {why}: it is not used"
        return None

    def _of_cls(self, index: int | None) -> str:
        if index is None:
            return ""
        member = Member("", self._places.where[index], self._places.size[index])
        return class_of(self._containers[self._places.container[index]].read(member))


def _given(asked: Asked, paths: CompactStrings) -> Found:
    """By the file that the user names: pictures are found by path, by file name, or without a suffix."""
    labels = read_labels(Path(asked.labels))
    if labels is None:
        return Found(asked.labels, lambda path: "", unconditional=True)
    if not labels:
        raise DataError(f"--labels '{asked.labels}' has no column of labels: give a CSV of name and label")
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
                    raise DataError(f"{asked.labels} says '{end}', and several images are called so")
                return labels[end]
        return ""

    if not any(end in labels for end in ends):
        raise DataError(
            f"--labels '{asked.labels}' names none of the images of '{asked.source}': it has "
            f"'{next(iter(labels))}', and they are called '{next(iter(paths), 'nothing')}'"
        )
    return Found(asked.labels, class_of_path)


def _ends(path: str) -> list[str]:
    """The path without its first folders, one by one, then all of these without a suffix."""
    parts = path.split("/")
    whole = ["/".join(parts[start:]) for start in range(len(parts))]
    return whole + [one.rpartition(".")[0] for one in whole]


def _stem(path: str) -> str:
    """The path up to the first dot of the file's name, by which WebDataset groups files."""
    folder, slash, name = path.rpartition("/")
    return folder + slash + name.partition(".")[0]
