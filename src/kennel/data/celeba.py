"""CelebA as it is published, with its lists of parts and attributes, and CelebA-HQ as it is passed on.

Liu et al. 2015 (arXiv 1411.7766); Karras et al. 2018 (arXiv 1710.10196).
"""

from collections.abc import Iterator
from pathlib import Path

from kennel.data.collection import Arrangement, FileCollection, Refusal
from kennel.data.containers import is_archive
from kennel.data.formats import IMAGE_SUFFIXES
from kennel.data.opening import Opened, Request, files_among
from kennel.errors import DataError
from kennel.registry import unknown_name

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

    The lists are looked for beside the images. The one of parts is not needed for all of the images, and the
    one of attributes only for classes.
    """
    split, attribute = request.options.part, request.options.attribute
    given = request.files[0]
    images = given if given.is_file() else _find(given, *_IMAGES)
    beside = given.parent if given.is_file() else given
    used = [images]
    parts: dict[str, str] | None = None
    has: dict[str, bool] | None = None
    if split != "all":
        used.append(_find(beside, PARTITION))
        parts = _read_partition(used[-1])
    if attribute:
        used.append(_find(beside, ATTRIBUTES))
        attribute, has = _read_attribute(used[-1], attribute)

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
    collection = FileCollection(
        [request.container(images)], with_annotations=False, arrangement=Arrangement(place, classes)
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


def _find(folder: Path, *names: str) -> Path:
    """The first of `names` that is in the folder, or where the published share has it."""
    for place in _PLACES:
        for name in names:
            if (folder / place / name).exists():
                return folder / place / name
    raise DataError(
        f"'{folder}' lacks {names[0]} of celeba: get it from http://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"
    )


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The words of each line that is not empty, with the line's number from 1."""
    try:
        with path.open(encoding="utf-8") as stream:
            for number, line in enumerate(stream, start=1):
                if words := line.split():
                    yield number, words
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"'{path}' cannot be read ({error}): fetch it again") from error


def _read_partition(path: Path) -> dict[str, str]:
    """The name of each image to its part: "0" for training, "1" for validation, "2" for testing."""
    parts = {}
    for number, words in _lines(path):
        if len(words) != 2 or words[1] not in ("0", "1", "2"):
            raise DataError(
                f"'{path}' has '{' '.join(words)[:60]}' in line {number}, not a file name with 0, 1 or 2: "
                "fetch it again"
            )
        parts[words[0]] = words[1]
    return parts


def _read_attribute(path: Path, wanted: str) -> tuple[str, dict[str, bool]]:
    """The attribute's published spelling, and for each image whether it has it.

    The file has the number of images, the names of the attributes, then a line for each image: its name and
    1 or -1 for each attribute.
    """
    lines = _lines(path)
    _, count = next(lines, (0, []))
    _, names = next(lines, (0, []))
    if len(count) != 1 or not count[0].isdecimal() or not names:
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
    if len(has) != int(count[0]):
        raise DataError(f"'{path}' announces {int(count[0]):,} images and lists {len(has):,}: fetch it again")
    return found[0], has
