"""Labels from the label files of a source, or from one that the user gives."""

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
from kennel.data.sources.layouts import LayoutOptions
from kennel.errors import DataError


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
