"""The pictures of a source in one definite order, whatever container they lie in.

A collection is asked by number, from 0: its label, its name, its content. Names and places are kept in
columns: some bytes more than its name for each picture, so that ten million of them fit anywhere.
"""

import unicodedata
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, NamedTuple, Protocol, runtime_checkable

from kennel.data.sources.annotations import Annotation, parse_annotation
from kennel.data.sources.bit_depth import Span
from kennel.data.sources.compact_index import CompactStrings, FileIndex, order_of
from kennel.data.sources.containers import Container, Member
from kennel.data.sources.decode import Picture, Reading, read_header, read_picture, read_span
from kennel.data.sources.formats import IMAGE_SUFFIXES, UNREAD_SUFFIXES, suffix_of
from kennel.data.sources.labels import Found, LabelFiles
from kennel.data.sources.layouts import (
    Asked,
    Splits,
    class_folders,
    common_top,
    first_folder,
    in_order,
    numbered,
)
from kennel.errors import DataError

_SYSTEM_FILES = frozenset(("__macosx", "thumbs.db", "desktop.ini", "ehthumbs.db"))
_ANNOTATION_FOLDERS = frozenset(("Annotation", "Annotations"))
_IMAGE_FOLDERS = frozenset(("Images", "JPEGImages"))

UNREAD, UNLABELLED, NO_SPLIT = "format not read", "unlabelled", "no split"


class Refusal(NamedTuple):
    """A file that is not read at all."""

    name: str
    reason: str
    detail: str = ""


@runtime_checkable
class Collection(Protocol):
    """What is asked of a collection; pictures are numbered from 0."""

    @property
    def classes(self) -> tuple[str, ...]:
        """In the order of their labels, empty where there are none."""
        ...

    @property
    def native_size(self) -> int | None:
        """The side that all pictures have already, or None."""
        ...

    @property
    def refusals(self) -> Sequence[Refusal]:
        """The files that are not read at all."""
        ...

    @property
    def ignored(self) -> CompactStrings:
        """The files whose names are not of pictures."""
        ...

    @property
    def has_annotations(self) -> bool:
        """Whether there are boxes."""
        ...

    @property
    def annotations_only(self) -> bool:
        """Whether there is nothing but boxes."""
        ...

    @property
    def keeps_duplicates(self) -> bool:
        """Whether equal pixels are kept where the user does not say."""
        ...

    @property
    def notes(self) -> Sequence[str]:
        """What the user should know about it, a sentence each."""
        ...

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """What the picture is called in reports."""
        ...

    def label(self, index: int) -> int:
        """The class's number, -1 where there are no classes."""
        ...

    def annotation(self, index: int) -> Annotation | None:
        """Its boxes. Raises `DataError` where they cannot be read."""
        ...

    def read(self, index: int) -> Any:
        """Its content, for `header` and `load`, from any thread. Raises `DataError` with a reason."""
        ...

    def header(self, content: Any, max_pixels: int, name: str) -> tuple[int, int, int]:
        """(width, height) in stored pixels and the EXIF orientation, without decoding."""
        ...

    def load(self, content: Any, reading: Reading, name: str) -> Picture:
        """The decoded picture in stored pixels."""
        ...

    def span(self, content: Any, reading: Reading, name: str) -> Span | None:
        """The least and greatest value of a picture of more than 8 bits, None for any other."""
        ...


class Encoded:
    """The part of a collection whose contents are image files' bytes."""

    native_size: int | None = None
    keeps_duplicates = False

    def header(self, content: bytes, max_pixels: int, name: str) -> tuple[int, int, int]:
        """(width, height) in stored pixels and the EXIF orientation, without decoding."""
        return read_header(content, max_pixels=max_pixels, name=name)

    def load(self, content: bytes, reading: Reading, name: str) -> Picture:
        """The decoded picture in stored pixels."""
        return read_picture(content, reading, name)

    def span(self, content: bytes, reading: Reading, name: str) -> Span | None:
        """The least and greatest value of a picture of more than 8 bits, None for any other."""
        return read_span(content, reading, name)


@dataclass(frozen=True)
class Arrangement:
    """Which files of a published set are its pictures, and of which class, where folders do not say it."""

    place: Callable[[str], str | Refusal | None]
    """A file's path in its container to its path in the collection, `class/file.jpg` where there are
    classes; a refusal where it cannot be placed; None where it is not asked for."""
    classes: tuple[str, ...] | None = ()
    """By label, or None for the first folders of the paths by name; () for none. Those without pictures are
    left out, and of a single one nothing is made, as with folders."""


class FileCollection(Encoded):
    """The image files of some containers: a class per sub-folder, flat, or as in Stanford Dogs.

    Folders that everything lies in are taken off (`crops64/breed/a.jpg` is `breed/a.jpg`). Pictures are
    sorted by class and name, so that a folder, a zip and a tar of the same files are the same collection.
    Folders of splits (train, test) are told apart and one is chosen; labels come from a file where there is
    one.
    Classes are made of folders where all pictures, or nearly all, lie in some; what lies outside is refused.
    """

    def __init__(
        self,
        containers: Sequence[Container],
        *,
        with_annotations: bool,
        arrangement: Arrangement | None = None,
        asked: Asked | None = None,
    ) -> None:
        """Lists the containers; `with_annotations` reads the boxes as well, where there are any.

        With an `arrangement` the classes are its own, and there are no boxes. `asked` is what the user says
        about splits and labels. Raises `DataError` where a file of labels cannot be read, or a split is not
        there.
        """
        self._containers = containers
        self._arrangement = arrangement
        self._annotation_folders = frozenset[str]() if arrangement else _ANNOTATION_FOLDERS
        self._refused: list[Refusal] = []
        self.refusals: Sequence[Refusal] = self._refused
        self.ignored = CompactStrings()
        self.notes: list[str] = []
        self._label_files = LabelFiles(containers)
        paths, places = self._list()
        top = "" if arrangement and arrangement.classes != () else common_top(paths, self._annotation_folders)
        annotated = array("q", (i for i, path in enumerate(paths) if self._is_annotation(path[len(top) :])))
        self.has_annotations = len(annotated) > 0
        self.annotations_only = self.has_annotations and len(annotated) == len(paths)
        self._annotations: dict[str, Annotation | DataError] = {}
        if arrangement is None and not self.has_annotations:
            paths, chosen, keys, numbers = self._laid_out(paths, top, asked or Asked())
            places = places.take(chosen)
            ordered = in_order(set(keys)) if self._label_files.used else tuple(sorted(keys))
            self.classes = ordered if len(ordered) > 1 else ()
            place = [self.classes.index(key) if self.classes else -1 for key in keys]
            labels = array("i", (place[number] for number in numbers))
        else:
            paths = CompactStrings(path[len(top) :] for path in paths)
            if self.has_annotations:
                paths, places = self._annotated(paths, places, annotated, with_annotations)
            self.classes, labels = _labels(paths, arrangement)
        order = order_of(labels, paths)
        self._names = paths.take(order)
        self._labels = array("i", (labels[index] for index in order))
        self._places = places.take(order) if len(places) else places

    def _annotated(
        self, paths: CompactStrings, places: FileIndex, annotated: Sequence[int], wanted: bool
    ) -> tuple[CompactStrings, FileIndex]:
        """The pictures among paths with annotations; these are read where they are wanted."""
        if wanted or self.annotations_only:
            self._read_annotations(paths, annotated, places)
        if self.annotations_only:
            return CompactStrings(self._annotations), FileIndex()
        chosen = array("q", (index for index, path in enumerate(paths) if not self._is_annotation(path)))
        return CompactStrings(_below(paths[index], _IMAGE_FOLDERS) for index in chosen), places.take(chosen)

    def _laid_out(
        self, paths: CompactStrings, top: str, asked: Asked
    ) -> tuple[CompactStrings, "array[int]", list[str], "array[int]"]:
        """What the pictures that are taken are called, their indices, their classes ("" of all without), and
        the number of each one's class."""
        splits = Splits(paths, top)
        taken = splits.chosen(asked.split, asked.source)
        if splits.depth is not None:
            self.notes.append(splits.sentence(taken))
        bare = CompactStrings(splits.without(path) for path in paths)
        start = len(common_top(bare))
        bare = CompactStrings(path[start:] for path in bare)
        found, notes = self._label_files.found(asked, paths)
        self.notes += notes
        by_folder = False
        if found is None and asked.labels != "none":
            by_folder, note = class_folders(bare, asked.labels)
            self.notes += [note] if note else []
        names, chosen, keys, numbers = CompactStrings(), array("q"), dict[str, int](), array("i")
        for index, path in enumerate(paths):
            split = splits.of(path)
            name = bare[index] if len(taken) == 1 else path[len(top) :]
            if not split and splits.depth is not None:
                self._refused.append(Refusal(name, NO_SPLIT, "it lies outside of the folders of splits"))
            if split not in taken:
                continue
            key = self._key_of(path, bare[index], found, by_folder)
            if isinstance(key, Refusal):
                self._refused.append(key._replace(name=name))
                continue
            names.append(name)
            chosen.append(index)
            numbers.append(keys.setdefault(key, len(keys)))
        return names, chosen, list(keys), numbers

    def _key_of(self, path: str, bare: str, found: Found | None, by_folder: bool) -> str | Refusal:
        if found is None:
            key = first_folder(bare) if by_folder else ""
            return key if key or not by_folder else Refusal("", UNLABELLED, "it lies in no folder of a class")
        try:
            key = found.class_of(path)
        except DataError as error:
            return Refusal("", UNLABELLED, str(error))
        return (
            key
            if key or found.unconditional
            else Refusal("", UNLABELLED, f"{found.name} has no label for it")
        )

    def _is_annotation(self, path: str) -> bool:
        return path.partition("/")[0] in self._annotation_folders

    def _list(self) -> tuple[CompactStrings, FileIndex]:
        """The paths of pictures and annotations, with where they are; the rest is named."""
        paths, places = CompactStrings(), FileIndex()
        for number, container in enumerate(self._containers):
            for member in container.members():
                if member.refusal:
                    self._refused.append(Refusal(printable(member.name), member.refusal))
                    continue
                parts = [part for part in member.name.split("/") if part not in ("", ".")]
                if any(part.startswith(".") or part.lower() in _SYSTEM_FILES for part in parts):
                    continue
                suffix = suffix_of(parts[-1])  # not by pathlib, which would intern every name
                path: str | Refusal | None = printable("/".join(parts))
                if suffix not in IMAGE_SUFFIXES and self._annotation_folders.isdisjoint(parts[:-1]):
                    published = self._arrangement is not None  # lists and archives belong to such a set
                    if not published and self._label_files.take(str(path), number, member):
                        continue
                    if suffix in UNREAD_SUFFIXES and not published:
                        self._refused.append(Refusal(str(path), UNREAD, UNREAD_SUFFIXES[suffix][1]))
                    else:
                        self.ignored.append(str(path))
                    continue
                if self._arrangement:
                    path = self._arrangement.place(str(path))
                if isinstance(path, Refusal):
                    self._refused.append(path)
                elif path is not None:
                    paths.append(path)
                    places.add(number, member.where, member.size)
        return paths, places

    def _read_annotations(self, paths: CompactStrings, annotated: Sequence[int], places: FileIndex) -> None:
        for index in annotated:
            key = _below(paths[index], _ANNOTATION_FOLDERS).removesuffix(".xml")
            try:
                self._annotations[key] = parse_annotation(self._read_at(places, index))
            except DataError as error:
                self._annotations[key] = error

    def _read_at(self, places: FileIndex, index: int) -> bytes:
        member = Member("", places.where[index], places.size[index])
        return self._containers[places.container[index]].read(member)

    def __len__(self) -> int:
        return len(self._names)

    def name(self, index: int) -> str:
        """`class/file.jpg`; without a suffix where there are annotations alone."""
        return self._names[index]

    def label(self, index: int) -> int:
        """The class's number, -1 where there are no classes."""
        return self._labels[index]

    def annotation(self, index: int) -> Annotation | None:
        """The annotation of the same path and stem. Raises `DataError` where it cannot be read."""
        name = self._names[index]
        found = self._annotations.get(
            name if self.annotations_only else str(PurePosixPath(name).with_suffix(""))
        )
        if isinstance(found, DataError):
            raise found
        return found

    def read(self, index: int) -> bytes:
        """The file's content. Raises `DataError` with a reason."""
        return self._read_at(self._places, index)


def printable(name: str) -> str:
    """A name as one line of UTF-8: composed (NFC), with control characters and stray bytes escaped."""
    name = unicodedata.normalize("NFC", name).encode("utf-8", "backslashreplace").decode()
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)


def _below(path: str, tops: frozenset[str]) -> str:
    top, _, rest = path.partition("/")
    return rest if top in tops else path


def _labels(names: CompactStrings, arrangement: Arrangement | None) -> tuple[tuple[str, ...], "array[int]"]:
    """The first folders of the names that are classes, and each name's label.

    None where a name has no folder, or the arrangement has no classes or only one.
    """
    wanted = arrangement.classes if arrangement else None
    firsts = set(map(first_folder, names))
    if wanted == () or "" in firsts or (arrangement and len(firsts) < 2):
        return (), array("i", [-1]) * len(names)
    present = tuple(sorted(firsts, key=wanted.index if wanted else None))
    return present, numbered(map(first_folder, names), present)
