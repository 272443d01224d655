"""The pictures of a source in one definite order, whatever container they lie in.

A collection is asked by number, from 0: its label, its name, its content. Names and places are kept in
columns: some bytes more than its name for each picture, so that ten million of them fit anywhere.
"""

import unicodedata
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import PurePosixPath
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from PIL import Image

from kennel.data.annotations import Annotation, parse_annotation
from kennel.data.columns import Names, Places, order_of
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
        paths, places = self._list()
        if arrangement is None or arrangement.classes == ():
            paths = _without_common_top(paths)
        annotated = array("q", (index for index, path in enumerate(paths) if self._is_annotation(path)))
        self.has_annotations = len(annotated) > 0
        self.annotations_only = self.has_annotations and len(annotated) == len(paths)
        self._annotations: dict[str, Annotation | DataError] = {}
        if self.has_annotations:
            if with_annotations or self.annotations_only:
                self._read_annotations(paths, annotated, places)
            chosen = array("q", (index for index, path in enumerate(paths) if not self._is_annotation(path)))
            paths = Names(_below(paths[index], _IMAGE_FOLDERS) for index in chosen)
            places = places.take(chosen)
        if self.annotations_only:
            paths, places = Names(self._annotations), Places()
        self.notes: list[str] = []
        if arrangement is None:
            self.classes, labels = _classes(paths)
            if len(paths) and not self.classes:
                self.notes.append("no classes: not every image lies in a sub-folder of its own class")
        else:
            self.classes, labels = _labels(paths, arrangement.classes)
        order = order_of(labels, paths)
        self._names = paths.take(order)
        self._labels = array("i", (labels[index] for index in order))
        self._places = places.take(order) if len(places) else places

    def _is_annotation(self, path: str) -> bool:
        return path.partition("/")[0] in self._annotation_folders

    def _list(self) -> tuple[Names, Places]:
        """The paths of pictures and annotations, with where they are; the rest is counted or refused."""
        paths, places = Names(), Places()
        for number, container in enumerate(self._containers):
            for member in container.members():
                if member.refusal:
                    self._refused.append(Refusal(printable(member.name), member.refusal))
                    continue
                parts = [part for part in member.name.split("/") if part not in ("", ".")]
                if any(part.startswith(".") or part.lower() in _SYSTEM_FILES for part in parts):
                    continue
                # Not by pathlib, which would intern every name.
                stem, _, suffix = parts[-1].rpartition(".")
                picture = bool(stem) and f".{suffix.lower()}" in IMAGE_SUFFIXES
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
                    places.add(number, member.where, member.size)
        return paths, places

    def _read_annotations(self, paths: Names, annotated: Sequence[int], places: Places) -> None:
        for index in annotated:
            key = _below(paths[index], _ANNOTATION_FOLDERS).removesuffix(".xml")
            try:
                self._annotations[key] = parse_annotation(self._read_at(places, index))
            except DataError as error:
                self._annotations[key] = error

    def _read_at(self, places: Places, index: int) -> bytes:
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


def printable(name: str) -> str:
    """A name as one line of UTF-8: composed (NFC), with control characters and stray bytes escaped."""
    name = unicodedata.normalize("NFC", name).encode("utf-8", "backslashreplace").decode()
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)


def _without_common_top(paths: Names) -> Names:
    """The paths without the folders that all of them lie in, up to one that is for annotations."""
    common: list[str] | None = None
    for path in paths:
        folders = path.split("/")[:-1]
        if common is None:
            common = list(takewhile(lambda folder: folder not in _ANNOTATION_FOLDERS, folders))
        else:
            pairs = zip(common, folders, strict=False)
            common = [folder for folder, _ in takewhile(lambda pair: pair[0] == pair[1], pairs)]
        if not common:
            return paths
    start = len("".join(f"{folder}/" for folder in common or ()))
    return Names(path[start:] for path in paths)


def _below(path: str, tops: frozenset[str]) -> str:
    top, _, rest = path.partition("/")
    return rest if top in tops else path


def _classes(names: Names) -> tuple[tuple[str, ...], "array[int]"]:
    """The classes and each name's label: by first folder, none at all where a name has no folder."""
    if not len(names) or any("/" not in name for name in names):
        return (), array("i", [-1]) * len(names)
    return _numbered(names, sorted(set(_first_folders(names))))


def _labels(names: Names, classes: tuple[str, ...] | None) -> tuple[tuple[str, ...], "array[int]"]:
    """Those of `classes` that names have as their first folder, at least two, and each name's label."""
    if classes != ():
        present = sorted(set(_first_folders(names)), key=classes.index if classes else None)
        if len(present) > 1:
            return _numbered(names, present)
    return (), array("i", [-1]) * len(names)


def _first_folders(names: Names) -> Iterator[str]:
    return (name.partition("/")[0] for name in names)


def _numbered(names: Names, classes: list[str]) -> tuple[tuple[str, ...], "array[int]"]:
    number = {name: label for label, name in enumerate(classes)}
    return tuple(classes), array("i", (number[folder] for folder in _first_folders(names)))
