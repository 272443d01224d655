"""CelebA with its published lists, and CelebA-HQ as a folder or archive.

Liu et al. 2015 (arXiv 1411.7766); Karras et al. 2018 (arXiv 1710.10196).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from kennel.data.sources.collection import Refusal
from kennel.data.sources.containers import Container, only_archive
from kennel.data.sources.decode import MAX_FILE_BYTES
from kennel.data.sources.formats import IMAGE_SUFFIXES
from kennel.data.sources.index import Arrangement, FileCollection
from kennel.data.sources.openers import Opened, Request, files_among
from kennel.errors import DataError
from kennel.registry import unknown_name
from kennel.storage.untrusted import as_data_error, printable, read_bytes

PARTITION = "list_eval_partition.txt"
ATTRIBUTES = "list_attr_celeba.txt"
NOT_LISTED = "not listed"

_IMAGES = ("img_align_celeba.zip", "img_align_celeba")
_PLACES = ("", "Img", "Anno", "Eval")  # the given folder, and the folders of the published share
_PARTS = {"train": frozenset("0"), "test": frozenset("2"), "all": frozenset("012")}
"""The 19,867 images for validation are only in "all"."""


def open_celeba(request: Request) -> Opened:
    """The aligned images of one split, in two classes if `--attribute` is given.

    The lists are next to the images or in the archive, as text or as Kaggle's tables. The partition is not
    needed for all images, the attributes only for classes. Raises `DataError` if a list is missing or
    damaged, or if only one of the two classes has images.
    """
    split, attribute = request.options.part, request.options.attribute
    given = request.files[0]
    images = given if given.is_file() else _images(given)
    container = request.container(images)
    inside = container if images.is_file() else None
    folder = given.parent if given.is_file() else given
    used = [images]
    parts: dict[str, str] | None = None
    has: dict[str, bool] | None = None
    if split != "all":
        parts = _read_partition(_find_list(folder, inside, PARTITION, used))
    if attribute:
        attribute, has = _read_attribute(_find_list(folder, inside, ATTRIBUTES, used), attribute)

    def place(path: str) -> str | Refusal | None:
        name = path.rpartition("/")[2]
        if parts is not None:
            if name not in parts:
                return Refusal(name, NOT_LISTED, f"{PARTITION} does not list it")
            if parts[name] not in _PARTS[split]:
                return None
        if has is None:
            return name
        if name not in has:
            return Refusal(name, NOT_LISTED, f"{ATTRIBUTES} does not list it")
        return f"{attribute}/{name}" if has[name] else f"No {attribute}/{name}"

    classes = (f"No {attribute}", str(attribute)) if attribute else ()
    collection = FileCollection([container], with_annotations=False, arrangement=Arrangement(place, classes))
    if attribute and len(collection) and not collection.classes:
        raise DataError(
            f"--attribute {attribute} makes two classes, but all images of '{images}' are in one: give all "
            "of the images, or another attribute"
        )
    if parts is not None:
        listed = sum(part in _PARTS[split] for part in parts.values())
        missing = listed - len(collection) - len(collection.refusals)
        if missing > 0:
            collection.notes.append(f"{missing:,} of the {listed:,} images listed in {PARTITION} are missing")
    return Opened(collection, files_among(used))


def open_celeba_hq(request: Request) -> Opened:
    """All images of a folder or archive, without classes and without the masks of CelebAMask-HQ."""
    given = request.files[0]
    if given.is_dir() and (archive := only_archive(given)):
        entries = [path for path in given.iterdir() if not path.name.startswith(".")]
        if not any(path.is_dir() or path.suffix.lower() in IMAGE_SUFFIXES for path in entries):
            given = archive

    def place(path: str) -> str | None:
        return None if any("mask" in folder and "anno" in folder for folder in path.split("/")[:-1]) else path

    collection = FileCollection(
        [request.container(given)], with_annotations=False, arrangement=Arrangement(place)
    )
    return Opened(collection, files_among([given]))


def _images(folder: Path) -> Path:
    """The images in the folder or in a folder of the published share; else the only archive in it."""
    for place in _PLACES:
        for name in _IMAGES:
            if (folder / place / name).exists():
                return folder / place / name
    if archive := only_archive(folder):  # Kaggle's archive.zip or celeba-dataset.zip
        return archive
    raise _missing(folder, _IMAGES[0])


def _missing(folder: Path, name: str) -> DataError:
    return DataError(
        f"'{folder}' lacks {name} of celeba: get it from http://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"
    )


def _find_list(folder: Path, inside: Container | None, name: str, used: list[Path]) -> "List":
    """A list as text or Kaggle's table, from the folder, its subfolders or the archive; appends to `used`."""
    names = (name, f"{Path(name).stem}.csv")
    for place in _PLACES:
        for file in (folder / place / name for name in names):
            if file.is_file():
                used.append(file)
                with as_data_error(f"'{file}' cannot be read", "fetch it again"):
                    return List(str(file), read_bytes(file, MAX_FILE_BYTES, named=True))
    for member in inside.members() if inside else ():
        if member.refusal is None and member.name.rpartition("/")[2] in names:
            assert inside is not None
            return List(member.name, inside.read(member))
    raise _missing(folder, name)


class List(NamedTuple):
    """A list, as text or as Kaggle's table with commas."""

    name: str
    content: bytes

    @property
    def is_table(self) -> bool:
        return self.name.endswith(".csv")

    def lines(self) -> Iterator[tuple[int, list[str]]]:
        """The number, from 1, and the words of each line that is not empty."""
        with as_data_error(f"'{self.name}' cannot be read", "fetch it again"):
            text = self.content.decode("utf-8-sig")
        for number, line in enumerate(text.splitlines(), start=1):
            if words := [word.strip() for word in line.split(",")] if self.is_table else line.split():
                yield number, words


def _read_partition(found: List) -> dict[str, str]:
    """The part of each image: "0" for training, "1" for validation, "2" for testing."""
    parts = {}
    for number, words in found.lines():
        if found.is_table and number == 1:
            continue  # image_id,partition
        if len(words) != 2 or words[1] not in ("0", "1", "2"):
            raise DataError(
                f"'{found.name}' has '{printable(' '.join(words)[:60])}' in line {number}, not a file name "
                "with 0, 1 or 2: fetch it again"
            )
        parts[words[0]] = words[1]
    return parts


def _read_attribute(source: List, attribute: str) -> tuple[str, dict[str, bool]]:
    """The attribute's published spelling, and whether each image has it.

    The file has the number of images, the names of the attributes, then for each image its name and 1 or -1
    for each attribute. Kaggle's table has no count, and `image_id` before the attributes.
    """
    path = source.name
    lines = source.lines()
    _, count = (0, []) if source.is_table else next(lines, (0, []))
    _, names = next(lines, (0, []))
    names = names[1:] if source.is_table else names
    if not names or not (source.is_table or (len(count) == 1 and count[0].isdecimal())):
        raise DataError(f"'{path}' does not begin with a count and the names of attributes: fetch it again")
    found = [name for name in names if name.lower() == attribute.lower()]
    if not found:
        raise unknown_name("attribute of CelebA", attribute, names)
    column = 1 + names.index(found[0])
    has = {}
    for number, words in lines:
        if len(words) != 1 + len(names) or words[column] not in ("1", "-1"):
            raise DataError(
                f"'{path}' does not have a file name and {len(names)} times 1 or -1 in line {number}: "
                "fetch it again"
            )
        has[words[0]] = words[column] == "1"
    if count and len(has) != int(count[0]):
        raise DataError(f"'{path}' announces {int(count[0]):,} images but lists {len(has):,}: fetch it again")
    return found[0], has
