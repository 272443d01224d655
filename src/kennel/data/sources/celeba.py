"""CelebA as it is published, with its lists of parts and attributes, and CelebA-HQ as it is passed on.

Liu et al. 2015 (arXiv 1411.7766); Karras et al. 2018 (arXiv 1710.10196).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from kennel.data.sources.containers import Container, is_archive
from kennel.data.sources.decode import MAX_FILE_BYTES
from kennel.data.sources.formats import IMAGE_SUFFIXES
from kennel.data.sources.index import Arrangement, FileCollection, Refusal
from kennel.data.sources.openers import Opened, Request, files_among
from kennel.errors import DataError
from kennel.registry import unknown_name
from kennel.storage.untrusted import UntrustedError, printable, read_bytes

PARTITION = "list_eval_partition.txt"
ATTRIBUTES = "list_attr_celeba.txt"
NOT_LISTED = "not listed"

_IMAGES = ("img_align_celeba.zip", "img_align_celeba")
_PLACES = ("", "Img", "Anno", "Eval")
"""The folders of the published share, and no folder at all."""
_PARTS = {"train": frozenset("0"), "test": frozenset("2"), "all": frozenset("012")}
"""The part of 19,867 images that is published for validation is in neither half, so it is in "all" alone."""


def open_celeba(request: Request) -> Opened:
    """The aligned images, of one split; two classes where `--attribute` names what tells them apart.

    The lists are looked for beside the images, as text or as Kaggle's tables, and in the archive. The one of
    parts is not needed for all of the images, and the one of attributes only for classes. Raises `DataError`
    where a list is missing or damaged, and where only one of the two classes has images.
    """
    split, attribute = request.options.part, request.options.attribute
    given = request.files[0]
    images = given if given.is_file() else _images(given)
    container = request.container(images)
    inside = container if images.is_file() else None
    beside = given.parent if given.is_file() else given
    used = [images]
    parts: dict[str, str] | None = None
    has: dict[str, bool] | None = None
    if split != "all":
        parts = _read_partition(_find_list(beside, inside, PARTITION, used))
    if attribute:
        attribute, has = _read_attribute(_find_list(beside, inside, ATTRIBUTES, used), attribute)

    def place(path: str) -> str | Refusal | None:
        name = path.rpartition("/")[2]
        if parts is not None:
            if name not in parts:
                return Refusal(name, NOT_LISTED, f"{PARTITION} has no such image")
            if parts[name] not in _PARTS[split]:
                return None
        if has is None:
            return name
        if name not in has:
            return Refusal(name, NOT_LISTED, f"{ATTRIBUTES} has no such image")
        return f"{attribute}/{name}" if has[name] else f"No {attribute}/{name}"

    classes = (f"No {attribute}", str(attribute)) if attribute else ()
    collection = FileCollection([container], with_annotations=False, arrangement=Arrangement(place, classes))
    if attribute and len(collection) and not collection.classes:
        raise DataError(
            f"--attribute {attribute} makes two classes, and all images of '{images}' are of one: give "
            "all of the images, or another attribute"
        )
    if parts is not None:
        listed = sum(part in _PARTS[split] for part in parts.values())
        missing = listed - len(collection) - len(collection.refusals)
        if missing > 0:
            collection.notes.append(f"{missing:,} of the {listed:,} images that {PARTITION} lists are absent")
    return Opened(collection, files_among(used))


def open_celeba_hq(request: Request) -> Opened:
    """All images of a folder or archive, without classes; the masks of CelebAMask-HQ are left out."""
    given = request.files[0]
    if given.is_dir():
        entries = [path for path in given.iterdir() if not path.name.startswith(".")]
        archives = [path for path in entries if is_archive(path)]
        loose = [path for path in entries if path.is_dir() or path.suffix.lower() in IMAGE_SUFFIXES]
        if len(archives) == 1 and not loose:
            given = archives[0]

    def place(path: str) -> str | None:
        return None if any("mask" in folder and "anno" in folder for folder in path.split("/")[:-1]) else path

    collection = FileCollection(
        [request.container(given)], with_annotations=False, arrangement=Arrangement(place)
    )
    return Opened(collection, files_among([given]))


def _images(folder: Path) -> Path:
    """The images in the folder, or where the published share has them; else the one archive in it."""
    for place in _PLACES:
        for name in _IMAGES:
            if (folder / place / name).exists():
                return folder / place / name
    archives = [path for path in folder.iterdir() if is_archive(path)]
    if len(archives) == 1:  # Kaggle calls it archive.zip or celeba-dataset.zip
        return archives[0]
    raise _lacks(folder, _IMAGES[0])


def _lacks(folder: Path, name: str) -> DataError:
    return DataError(
        f"'{folder}' lacks {name} of celeba: get it from http://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"
    )


def _find_list(folder: Path, inside: Container | None, name: str, used: list[Path]) -> "List":
    """A list by its published name, as text or as Kaggle's table: in the folder, where the published share
    has it, or in the archive. A file that is used is appended to `used`."""
    names = (name, f"{Path(name).stem}.csv")
    for place in _PLACES:
        for one in names:
            if (folder / place / one).is_file():
                used.append(folder / place / one)
                try:
                    return List(str(used[-1]), read_bytes(used[-1], MAX_FILE_BYTES, named=True))
                except UntrustedError as error:
                    raise DataError(f"'{used[-1]}' cannot be read ({error}): fetch it again") from error
    for member in inside.members() if inside else ():
        if member.refusal is None and member.name.rpartition("/")[2] in names:
            assert inside is not None
            return List(member.name, inside.read(member))
    raise _lacks(folder, name)


class List(NamedTuple):
    """One of the two lists."""

    name: str
    content: bytes

    @property
    def is_table(self) -> bool:
        """Whether it is Kaggle's table, with commas."""
        return self.name.endswith(".csv")

    def lines(self) -> Iterator[tuple[int, list[str]]]:
        """The words of each line that is not empty, with the line's number from 1."""
        try:
            text = self.content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise DataError(f"'{self.name}' cannot be read ({error}): fetch it again") from error
        for number, line in enumerate(text.splitlines(), start=1):
            if words := [word.strip() for word in line.split(",")] if self.is_table else line.split():
                yield number, words


def _read_partition(found: List) -> dict[str, str]:
    """The name of each image to its part: "0" for training, "1" for validation, "2" for testing."""
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


def _read_attribute(source: List, wanted: str) -> tuple[str, dict[str, bool]]:
    """The attribute's published spelling, and for each image whether it has it.

    The file has the number of images, the names of the attributes, then a line for each image: its name and
    1 or -1 for each attribute. Kaggle's table has no count, and `image_id` before the names.
    """
    path = source.name
    lines = source.lines()
    _, count = (0, []) if source.is_table else next(lines, (0, []))
    _, names = next(lines, (0, []))
    names = names[1:] if source.is_table else names
    if not names or not (source.is_table or (len(count) == 1 and count[0].isdecimal())):
        raise DataError(f"'{path}' does not begin with a count and the names of attributes: fetch it again")
    found = [name for name in names if name.lower() == wanted.lower()]
    if not found:
        raise unknown_name("attribute of CelebA", wanted, names)
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
        raise DataError(f"'{path}' announces {int(count[0]):,} images and lists {len(has):,}: fetch it again")
    return found[0], has
