"""The pictures of a source in one definite order, whatever container they lie in.

A collection is asked by number, from 0: its label, its name, its content. Names and places are kept in
columns, about 150 bytes a picture, so that a million of them fit anywhere.
"""

import unicodedata
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from PIL import Image

from kennel.data.annotations import Annotation, parse_annotation
from kennel.data.containers import Container, Member
from kennel.data.decoding import IMAGE_SUFFIXES, decode_as_stored, read_header
from kennel.errors import DataError

_SYSTEM_FILES = frozenset(("__macosx", "thumbs.db", "desktop.ini", "ehthumbs.db"))
_ANNOTATION_FOLDERS = frozenset(("Annotation", "Annotations"))
_IMAGE_FOLDERS = frozenset(("Images", "JPEGImages"))


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
    def ignored(self) -> int:
        """How many files' names are not of pictures."""
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

    def header(self, content: Any, max_pixels: int) -> tuple[int, int, int]:
        """(width, height) in stored pixels and the EXIF orientation, without decoding."""
        ...

    def load(self, content: Any, max_pixels: int) -> tuple[Image.Image, int]:
        """The decoded picture in stored pixels and its EXIF orientation."""
        ...


class Encoded:
    """The part of a collection whose contents are image files' bytes."""

    native_size: int | None = None
    keeps_duplicates = False

    def header(self, content: bytes, max_pixels: int) -> tuple[int, int, int]:
        """(width, height) in stored pixels and the EXIF orientation, without decoding."""
        return read_header(content, max_pixels=max_pixels)

    def load(self, content: bytes, max_pixels: int) -> tuple[Image.Image, int]:
        """The decoded picture in stored pixels and its EXIF orientation."""
        return decode_as_stored(content, max_pixels=max_pixels)


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
    There are classes only where every picture lies in a sub-folder.
    """

    def __init__(
        self,
        containers: Sequence[Container],
        *,
        with_annotations: bool,
        arrangement: Arrangement | None = None,
    ) -> None:
        """Lists the containers; `with_annotations` reads the boxes as well, where there are any.

        With an `arrangement` the classes are its own, and there are no boxes.
        """
        self._containers = containers
        self._arrangement = arrangement
        self._annotation_folders = frozenset[str]() if arrangement else _ANNOTATION_FOLDERS
        self._refused: list[Refusal] = []
        self.refusals: Sequence[Refusal] = self._refused
        self.ignored = 0
        paths, columns = self._list()
        if arrangement is None or arrangement.classes == ():
            paths = _without_common_top(paths)
        is_annotation = [PurePosixPath(path).parts[0] in self._annotation_folders for path in paths]
        self.has_annotations = any(is_annotation)
        self._annotations: dict[str, Annotation | DataError] = {}
        if self.has_annotations:
            if with_annotations or all(is_annotation):
                self._read_annotations(paths, is_annotation, columns)
            paths = [_below(path, _IMAGE_FOLDERS) for path in paths]
        self.annotations_only = self.has_annotations and all(is_annotation)
        self._names: list[str]
        if self.annotations_only:
            names, chosen = list(self._annotations), list(range(len(self._annotations)))
            columns = _Columns()
        else:
            chosen = [index for index, annotation in enumerate(is_annotation) if not annotation]
            names = [paths[index] for index in chosen]
        self.notes: list[str] = []
        if arrangement is None:
            self.classes, labels = _classes(names)
            if names and not self.classes:
                self.notes.append("no classes: not every image lies in a sub-folder of its own class")
        else:
            self.classes, labels = _labels(names, arrangement.classes)
        order = sorted(range(len(names)), key=lambda index: (labels[index], names[index]))
        self._names = [names[index] for index in order]
        self._labels = array("i", [labels[index] for index in order])
        self._columns = columns.take([chosen[index] for index in order]) if columns.where else columns

    def _list(self) -> "tuple[list[str], _Columns]":
        """The paths of pictures and annotations, with where they are; the rest is counted or refused."""
        paths: list[str] = []
        columns = _Columns()
        for number, container in enumerate(self._containers):
            for member in container.members():
                if member.refusal:
                    self._refused.append(Refusal(printable(member.name), member.refusal))
                    continue
                parts = [part for part in member.name.split("/") if part not in ("", ".")]
                if any(part.startswith(".") or part.lower() in _SYSTEM_FILES for part in parts):
                    continue
                picture = PurePosixPath(parts[-1]).suffix.lower() in IMAGE_SUFFIXES
                if not picture and self._annotation_folders.isdisjoint(parts[:-1]):
                    self.ignored += 1
                    continue
                path: str | Refusal | None = printable("/".join(parts))
                if self._arrangement:
                    path = self._arrangement.place(str(path))
                if isinstance(path, Refusal):
                    self._refused.append(path)
                elif path is not None:
                    paths.append(path)
                    columns.add(number, member)
        return paths, columns

    def _read_annotations(self, paths: list[str], is_annotation: list[bool], columns: "_Columns") -> None:
        for index, path in enumerate(paths):
            if is_annotation[index]:
                key = _below(path, _ANNOTATION_FOLDERS).removesuffix(".xml")
                try:
                    self._annotations[key] = parse_annotation(self._read_at(columns, index))
                except DataError as error:
                    self._annotations[key] = error

    def _read_at(self, columns: "_Columns", index: int) -> bytes:
        member = Member("", columns.where[index], columns.size[index])
        return self._containers[columns.container[index]].read(member)

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
        return self._read_at(self._columns, index)


class ArrayCollection:
    """Pictures that come as one uint8 array (N, H, W) or (N, C, H, W), for example from idx files."""

    refusals: Sequence[Refusal] = ()
    notes: Sequence[str] = ()
    ignored = 0
    annotations_only = False
    has_annotations = False
    keeps_duplicates = True
    """A published copy of a picture is part of its set."""

    def __init__(
        self,
        images: npt.NDArray[np.uint8],
        labels: npt.NDArray[np.integer[Any]] | None,
        classes: tuple[str, ...],
        close: Callable[[], None] = lambda: None,
    ) -> None:
        """`labels` (N,) number into `classes`; `close` releases what the array lies in."""
        self._images = images
        self._labels = labels
        self.classes = classes
        self.native_size: int | None = int(images.shape[-1]) if images.shape[-1] == images.shape[-2] else None
        self.close = close

    def __len__(self) -> int:
        return len(self._images)

    def name(self, index: int) -> str:
        """`class/number`: such pictures have no names of their own."""
        return f"{self.classes[self.label(index)]}/{index}" if self.classes else str(index)

    def label(self, index: int) -> int:
        """The class's number, -1 where there are no classes."""
        return -1 if self._labels is None else int(self._labels[index])

    def annotation(self, index: int) -> Annotation | None:
        """None."""
        return None

    def read(self, index: int) -> npt.NDArray[np.uint8]:
        """The pixels (H, W) or (C, H, W)."""
        return np.asarray(self._images[index])

    def header(self, content: npt.NDArray[np.uint8], max_pixels: int) -> tuple[int, int, int]:
        """(width, height, upright)."""
        return int(content.shape[-1]), int(content.shape[-2]), 1

    def load(self, content: npt.NDArray[np.uint8], max_pixels: int) -> tuple[Image.Image, int]:
        """The picture, upright."""
        pixels = content.transpose(1, 2, 0) if content.ndim == 3 else content
        return Image.fromarray(np.ascontiguousarray(pixels)), 1


class _Columns:
    """Where files are: the container's number, the place in it, the size in bytes."""

    def __init__(self) -> None:
        self.container, self.where, self.size = array("B"), array("q"), array("q")

    def add(self, container: int, member: Member) -> None:
        self.container.append(container)
        self.where.append(member.where)
        self.size.append(member.size)

    def take(self, indices: list[int]) -> "_Columns":
        taken = _Columns()
        taken.container = array("B", [self.container[index] for index in indices])
        taken.where = array("q", [self.where[index] for index in indices])
        taken.size = array("q", [self.size[index] for index in indices])
        return taken


def printable(name: str) -> str:
    """A name as one line of UTF-8: composed (NFC), with control characters and stray bytes escaped."""
    name = unicodedata.normalize("NFC", name).encode("utf-8", "backslashreplace").decode()
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)


def _without_common_top(paths: list[str]) -> list[str]:
    while paths:
        tops = {path.partition("/")[0] for path in paths}
        if len(tops) > 1 or tops & _ANNOTATION_FOLDERS or not all("/" in path for path in paths):
            break
        paths = [path.partition("/")[2] for path in paths]
    return paths


def _below(path: str, tops: frozenset[str]) -> str:
    top, _, rest = path.partition("/")
    return rest if top in tops else path


def _classes(names: list[str]) -> tuple[tuple[str, ...], list[int]]:
    """The classes and each name's label: by first folder, none at all where a name has no folder."""
    folders = [name.partition("/")[0] if "/" in name else None for name in names]
    if not names or None in folders:
        return (), [-1] * len(names)
    classes = tuple(sorted({folder for folder in folders if folder is not None}))
    number = {name: label for label, name in enumerate(classes)}
    return classes, [number[folder] for folder in folders if folder is not None]


def _labels(names: list[str], classes: tuple[str, ...] | None) -> tuple[tuple[str, ...], list[int]]:
    """Those of `classes` that names have as their first folder, at least two, and each name's label."""
    if classes == ():
        return (), [-1] * len(names)
    folders = [name.partition("/")[0] for name in names]
    present = tuple(sorted(set(folders), key=classes.index if classes else None))
    if len(present) < 2:
        return (), [-1] * len(names)
    number = {name: label for label, name in enumerate(present)}
    return present, [number[folder] for folder in folders]
