"""Image files in containers as a collection, with classes, splits, labels and annotations."""

import unicodedata
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from kennel.data.sources import layouts
from kennel.data.sources.annotations import Annotation, parse_annotation
from kennel.data.sources.collection import Collection, Refusal
from kennel.data.sources.compact_index import CompactStrings, FileIndex, order_of
from kennel.data.sources.containers import Container, Member
from kennel.data.sources.formats import IMAGE_SUFFIXES, UNREAD_SUFFIXES, suffix_of
from kennel.data.sources.label_files import LabelFiles, LabelSource
from kennel.data.sources.layouts import LayoutOptions, Splits, common_top, first_folder
from kennel.errors import DataError
from kennel.storage.untrusted import printable

_SYSTEM_FILES = frozenset(("__macosx", "thumbs.db", "desktop.ini", "ehthumbs.db"))
_ANNOTATION_FOLDERS = frozenset(("Annotation", "Annotations"))
_IMAGE_FOLDERS = frozenset(("Images", "JPEGImages"))

UNREAD, UNLABELLED, NO_SPLIT = "format not read", "unlabelled", "no split"


@dataclass(frozen=True)
class Arrangement:
    """The images of a published set, if its folders are not the classes.

    `place` maps a file's path in its container to its path in the collection (`class/file.jpg` if there are
    classes), to a refusal, or to None if it is not selected. `classes` are in the order of the labels; None
    takes the first folders, sorted; () is no classes. Classes without images are dropped, and a single class
    gives none.
    """

    place: Callable[[str], str | Refusal | None]
    classes: tuple[str, ...] | None = ()


class FileCollection(Collection):
    """The image files of some containers: with a class per subfolder, flat, or as in Stanford Dogs.

    Folders that contain everything are removed from the paths (`crops64/breed/a.jpg` is `breed/a.jpg`).
    Images are sorted by class and name, so a folder, a zip and a tar of the same files give the same
    collection. Of folders of splits (train, test) one is chosen. Labels come from a file if there is one;
    else folders are classes if (nearly) all images are in some, and the other images are refused. Names and
    positions are kept in columns, so that ten million fit into memory.
    """

    def __init__(
        self,
        containers: Sequence[Container],
        *,
        with_annotations: bool,
        arrangement: Arrangement | None = None,
        options: LayoutOptions | None = None,
    ) -> None:
        """Lists the containers; `with_annotations` also reads the boxes.

        An `arrangement` defines the classes and excludes boxes. Raises `DataError` if a label file cannot be
        read or a split is missing.
        """
        self._containers = containers
        self._arrangement = arrangement
        self._annotation_folders = frozenset[str]() if arrangement else _ANNOTATION_FOLDERS
        self._refused: list[Refusal] = []
        self.refusals = self._refused
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
            paths, chosen, keys, numbers = self._laid_out(paths, top, options or LayoutOptions())
            places = places.take(chosen)
            ordered = layouts.in_order(set(keys)) if self._label_files.used else tuple(sorted(keys))
            self.classes = ordered if len(ordered) > 1 else ()
            label_of = [self.classes.index(key) if self.classes else -1 for key in keys]
            labels = array("i", (label_of[number] for number in numbers))
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
        self, paths: CompactStrings, places: FileIndex, annotated: Sequence[int], read: bool
    ) -> tuple[CompactStrings, FileIndex]:
        """The images among files with annotations; reads the annotations if needed."""
        if read or self.annotations_only:
            for index in annotated:
                key = _below(paths[index], _ANNOTATION_FOLDERS).removesuffix(".xml")
                try:
                    self._annotations[key] = parse_annotation(self._read_at(places, index))
                except DataError as error:
                    self._annotations[key] = error
        if self.annotations_only:
            return CompactStrings(self._annotations), FileIndex()
        images = array("q", (index for index, path in enumerate(paths) if not self._is_annotation(path)))
        return CompactStrings(_below(paths[index], _IMAGE_FOLDERS) for index in images), places.take(images)

    def _laid_out(
        self, paths: CompactStrings, top: str, options: LayoutOptions
    ) -> tuple[CompactStrings, "array[int]", list[str], "array[int]"]:
        """Names and indices of the chosen images, the classes ("" without any), and each image's class."""
        splits = Splits(paths, top)
        taken = splits.chosen(options.split, options.source)
        if splits.depth is not None:
            self.notes.append(splits.sentence(taken))
        bare = CompactStrings(splits.without(path) for path in paths)
        start = len(common_top(bare))
        bare = CompactStrings(path[start:] for path in bare)
        source, notes = self._label_files.find(options, paths)
        self.notes += notes
        by_folder = False
        if source is None and options.labels != "none":
            by_folder, note = layouts.class_folders(bare, options.labels)
            self.notes += [note] if note else []
        names, chosen, keys, numbers = CompactStrings(), array("q"), dict[str, int](), array("i")
        for index, path in enumerate(paths):
            split = splits.of(path)
            name = bare[index] if len(taken) == 1 else path[len(top) :]
            if not split and splits.depth is not None:
                self._refused.append(Refusal(name, NO_SPLIT, "it is outside the folders of splits"))
            if split not in taken:
                continue
            try:
                key = _class_of(path, bare[index], source, by_folder)
            except DataError as error:
                self._refused.append(Refusal(name, UNLABELLED, str(error)))
                continue
            names.append(name)
            chosen.append(index)
            numbers.append(keys.setdefault(key, len(keys)))
        return names, chosen, list(keys), numbers

    def _is_annotation(self, path: str) -> bool:
        return path.partition("/")[0] in self._annotation_folders

    def _list(self) -> tuple[CompactStrings, FileIndex]:
        """The paths and positions of images and annotations. Other files are refused or ignored."""
        paths, places = CompactStrings(), FileIndex()
        for number, container in enumerate(self._containers):
            for member in container.members():
                if member.refusal:
                    self._refused.append(Refusal(printable_name(member.name), member.refusal))
                    continue
                parts = [part for part in member.name.split("/") if part not in ("", ".")]
                if any(part.startswith(".") or part.lower() in _SYSTEM_FILES for part in parts):
                    continue
                suffix = suffix_of(parts[-1])  # not with pathlib, which would intern every name
                path = printable_name("/".join(parts))
                if suffix not in IMAGE_SUFFIXES and self._annotation_folders.isdisjoint(parts[:-1]):
                    published = self._arrangement is not None  # lists and archives are part of such a set
                    if not published and self._label_files.take(path, number, member):
                        continue
                    if suffix in UNREAD_SUFFIXES and not published:
                        self._refused.append(Refusal(path, UNREAD, UNREAD_SUFFIXES[suffix][1]))
                    else:
                        self.ignored.append(path)
                    continue
                placed = self._arrangement.place(path) if self._arrangement else path
                if isinstance(placed, Refusal):
                    self._refused.append(placed)
                elif placed is not None:
                    paths.append(placed)
                    places.add(number, member.where, member.size)
        return paths, places

    def _read_at(self, places: FileIndex, index: int) -> bytes:
        member = Member("", places.where[index], places.size[index])
        return self._containers[places.container[index]].read(member)

    def __len__(self) -> int:
        return len(self._names)

    def name(self, index: int) -> str:
        """`class/file.jpg`; without a suffix if there are only annotations."""
        return self._names[index]

    def label(self, index: int) -> int:
        return self._labels[index]

    def annotation(self, index: int) -> Annotation | None:
        """The annotation with the same path and stem. Raises `DataError` if it cannot be read."""
        name = self._names[index]
        key = name if self.annotations_only else str(PurePosixPath(name).with_suffix(""))
        found = self._annotations.get(key)
        if isinstance(found, DataError):
            raise found
        return found

    def read(self, index: int) -> bytes:
        return self._read_at(self._places, index)


def printable_name(name: str) -> str:
    """A name as one line of UTF-8: composed (NFC), with control characters and invalid bytes escaped."""
    return printable(unicodedata.normalize("NFC", name).encode("utf-8", "backslashreplace").decode())


def _class_of(path: str, bare: str, source: LabelSource | None, by_folder: bool) -> str:
    """The class of an image, "" if there are no classes. Raises `DataError` if it has no label."""
    if source is None:
        key = first_folder(bare) if by_folder else ""
        if by_folder and not key:
            raise DataError("it is not in a folder of a class")
        return key
    key = source.class_of(path)
    if not key and not source.unconditional:
        raise DataError(f"{source.name} has no label for it")
    return key


def _below(path: str, tops: frozenset[str]) -> str:
    top, _, rest = path.partition("/")
    return rest if top in tops else path


def _labels(names: CompactStrings, arrangement: Arrangement | None) -> tuple[tuple[str, ...], "array[int]"]:
    """The classes (first folders, none if an image has none or all have one) and each name's label."""
    classes = arrangement.classes if arrangement else None
    folders = set(map(first_folder, names))
    if classes == () or "" in folders or (arrangement and len(folders) < 2):
        return (), array("i", [-1]) * len(names)
    present = tuple(sorted(folders, key=classes.index if classes else None))
    label_of = {name: label for label, name in enumerate(present)}
    return present, array("i", (label_of[first_folder(name)] for name in names))
