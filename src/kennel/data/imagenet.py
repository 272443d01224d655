"""ImageNet as it is published and as it is unpacked, all of it or what lies below some names in WordNet.

Russakovsky et al. 2015 (arXiv 1409.0575). Whatever lies in a folder, or a tar, that is called by a wnid is
taken for a picture of that synset, so ILSVRC2012 and the whole of ImageNet are read alike.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from kennel.data.collection import Arrangement, FileCollection, Refusal
from kennel.data.containers import Container, FolderContainer, TarContainer
from kennel.data.nested_tars import NestedTars, Stretch, tars_beside, tars_inside
from kennel.data.opening import Opened, Request, files_among
from kennel.data.wordnet import WNID, Nouns, nouns
from kennel.errors import DataError

TRAINING = "ILSVRC2012_img_train.tar"

_PLACE = re.compile(r"(?:.*/)?(n\d{8})/([^/]+)")


class Choice:
    """Which synsets are wanted, and the class of each."""

    def __init__(self, subset: Sequence[str], by_name: bool, table: Nouns) -> None:
        """`subset` are names of synsets, none for all; `by_name` makes a class of each of them.

        Raises `UnknownNameError` or `DataError` where they cannot be understood.
        """
        self._table = table
        self._by_name = by_name
        self.below = {name: table.below(table.find(name)) for name in subset}
        self._name_of: dict[str, str] = {}
        for name, wnids in self.below.items():
            for wnid in sorted(wnids):
                other = self._name_of.setdefault(wnid, name)
                if by_name and other != name:
                    raise DataError(
                        f"{table.label(wnid)} lies below both '{other}' and '{name}': with --classes subset "
                        "the names of --subset must not overlap"
                    )

    def wants(self, wnid: str) -> bool:
        """Whether the name of a folder or tar is the wnid of pictures that are asked for."""
        return bool(WNID.fullmatch(wnid)) and (not self.below or wnid in self._name_of)

    def label(self, wnid: str) -> str:
        """The class of a synset's pictures."""
        return self._name_of[wnid] if self._by_name else self._table.label(wnid)

    def classes(self) -> tuple[str, ...] | None:
        """In the order of the names given; None is in the order of the wnids."""
        return tuple(self.below) if self._by_name else None


def open_imagenet(request: Request) -> Opened:
    """The pictures below the names of `--subset`, or all.

    "test" is the part for validation where it is unpacked in `val`; the classes of the part for testing are
    not published. Raises `DataError` where there is not one of them.
    """
    options, given = request.options, request.files[0]
    choice = Choice(options.subset, options.classes == "subset", nouns())
    seen: set[str] = set()

    def place(path: str) -> str | Refusal | None:
        folders = path.split("/")[:-1]
        part = "test" if "val" in folders else "train"
        if options.part not in (part, "all") or "test" in folders:
            return None
        match = _PLACE.fullmatch(path)
        if match is None:
            return Refusal(path, "no synset", "the folder that it lies in is not called by a wnid")
        if not choice.wants(match[1]):
            return None
        seen.add(match[1])
        return f"{choice.label(match[1])}/{match[2]}"

    containers, archives = _containers(given, choice, request)
    collection = FileCollection(
        containers, with_annotations=False, arrangement=Arrangement(place, choice.classes())
    )
    if not len(collection) and not collection.refusals:
        wanted = f" below {', '.join(options.subset)}" if options.subset else ""
        raise DataError(
            f"'{given}' has no images of ImageNet{wanted} for --split {options.part}: give {TRAINING}, or a "
            "folder that holds it, or one of tars nXXXXXXXX.tar or folders nXXXXXXXX"
        )
    collection.notes += [
        f"nothing that lies below '{name}' is in '{given}'"
        for name, wnids in choice.below.items()
        if seen.isdisjoint(wnids)
    ]
    return Opened(collection, archives)


def _containers(given: Path, choice: Choice, request: Request) -> tuple[list[Container], dict[str, Path]]:
    """What holds the pictures: as little as can be is listed. And the archives among it."""
    split = request.options.part
    if given.is_file():
        if _is_tar_of_tars(given, request):
            return [NestedTars(tars_inside(given, choice.wants))], {given.name: given}
        return [request.container(given)], files_among([given])
    containers: list[Container] = []
    archives: dict[str, Path] = {}
    published = given / TRAINING
    if published.is_file() and split != "test":
        containers.append(NestedTars(tars_inside(published, choice.wants)))
        archives[TRAINING] = published
    tars = [] if published.is_file() or split == "test" else _loose_tars(given, choice)
    if tars:
        containers.append(NestedTars(tars))
        archives |= {tar.path.name: tar.path for tar in tars}

    def enter(folder: str) -> bool:
        name = folder.rpartition("/")[2]
        if WNID.fullmatch(name):
            return choice.wants(name) and not (published.is_file() and "val" not in folder.split("/"))
        return (split != "train") if name == "val" else name != "test"

    if any(entry.is_dir() and enter(entry.name) for entry in given.iterdir()):
        containers.append(FolderContainer(given, enter))
    return containers, archives


def _is_tar_of_tars(path: Path, request: Request) -> bool:
    """Whether an archive's first member is itself a tar."""
    container = request.container(path)
    first = next(container.members(), None) if isinstance(container, TarContainer) else None
    return first is not None and first.name.endswith(".tar")


def _loose_tars(given: Path, choice: Choice) -> list[Stretch]:
    """The tars of the synsets in the folder or its `train`, but those that are unpacked beside it."""
    places = [folder for folder in (given, given / "train") if folder.is_dir()]
    tars = [tar for folder in places for tar in tars_beside(folder, choice.wants)]
    return [tar for tar in tars if not tar.path.with_suffix("").is_dir()]
