"""ImageNet as it is published and as it is unpacked, all of it or what lies below some names in WordNet.

Russakovsky et al. 2015 (arXiv 1409.0575). Whatever lies in a folder, or a tar, that is called by a wnid is
taken for a picture of that synset, so ILSVRC2012 and the whole of ImageNet are read alike.
"""

import re
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from kennel.data.sources.containers import Container, FolderContainer, TarContainer
from kennel.data.sources.index import Arrangement, FileCollection, Refusal
from kennel.data.sources.nested_tars import NestedTars, Stretch, tars_beside, tars_inside
from kennel.data.sources.openers import Opened, Request, files_among
from kennel.data.sources.wordnet import WNID, WordNetNouns, nouns
from kennel.errors import DataError
from kennel.storage.untrusted import UntrustedError, read_bytes

TRAINING = "ILSVRC2012_img_train.tar"
SOLUTION = "LOC_val_solution.csv"
"""Kaggle's table of the part for validation, which lies in one folder there: the synset of each image."""
MAX_TABLE_BYTES = 64 << 20
"""It has 3 MB."""

_PLACE = re.compile(r"(?:.*/)?(n\d{8})/([^/]+)")


class Choice:
    """Which synsets are wanted, and the class of each."""

    def __init__(self, subset: Sequence[str], by_name: bool, table: WordNetNouns) -> None:
        """`subset` are names of synsets, none for all; `by_name` makes a class of each of them.

        Raises `UnknownNameError` or `DataError` where they cannot be understood.
        """
        self._table = table
        self._by_name = by_name
        self._drawn: frozenset[str] | None = None
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
        if self._drawn is not None:
            return wnid in self._drawn
        return bool(WNID.fullmatch(wnid)) and (not self.below or wnid in self._name_of)

    def draw(self, count: int, there: Collection[str], seed: int) -> None:
        """From now on wants `count` of the wnids that are `there` and no others, all alike likely.

        The draw depends on nothing else. Raises `DataError` where there are not so many.
        """
        if count > len(there):
            raise DataError(
                f"--class-count is {count}, and pictures of {len(there)} synsets are there: give at most that"
            )
        drawn = np.random.default_rng(seed).choice(sorted(there), count, replace=False)
        self._drawn = frozenset(map(str, drawn))

    def label(self, wnid: str) -> str:
        """The class of a synset's pictures."""
        return self._name_of[wnid] if self._by_name else self._table.label(wnid)

    def classes(self) -> tuple[str, ...] | None:
        """In the order of the names given; None is in the order of the wnids."""
        return tuple(self.below) if self._by_name else None


def open_imagenet(request: Request) -> Opened:
    """The pictures below the names of `--subset`, or all; of `--class-count` synsets among them, if given.

    "test" is the part for validation where it is unpacked in `val`, in folders or with Kaggle's table; the
    classes of the part for testing are not published. Raises `DataError` where there is not one of them, and
    where a name that is to be a class has none.
    """
    options, given = request.options, request.files[0]
    choice = Choice(options.subset, options.classes == "subset", nouns())
    seen: set[str] = set()
    containers, archives = _containers(given, choice, request)
    solution = _solution(given, containers) if options.part != "train" else {}

    def place(path: str) -> str | Refusal | None:
        folders = path.split("/")[:-1]
        part = "test" if "val" in folders else "train"
        if options.part not in (part, "all") or "test" in folders:
            return None
        match = _PLACE.fullmatch(path)
        file = path.rpartition("/")[2]
        wnid = match[1] if match else solution.get(file.partition(".")[0]) if part == "test" else None
        if wnid is None:
            lacking = f", and {SOLUTION} does not have it" if part == "test" else ""
            return Refusal(path, "no synset", f"the folder that it lies in is not called by a wnid{lacking}")
        if not choice.wants(wnid):
            return None
        seen.add(wnid)
        return f"{choice.label(wnid)}/{file}"

    def collected(containers: list[Container]) -> FileCollection:
        arrangement = Arrangement(place, choice.classes())
        return FileCollection(containers, with_annotations=False, arrangement=arrangement)

    collection = collected(containers)
    if not len(collection) and not collection.refusals:
        wanted = f" below {', '.join(options.subset)}" if options.subset else ""
        raise DataError(
            f"'{given}' has no images of ImageNet{wanted} for --split {options.part}: give {TRAINING}, or a "
            "folder that holds it, or one of tars nXXXXXXXX.tar or folders nXXXXXXXX"
        )
    there = frozenset(seen)
    missing = [name for name, wnids in choice.below.items() if there.isdisjoint(wnids)]
    if missing and options.classes == "subset":
        raise DataError(
            f"--classes subset makes a class of each name, and nothing that lies below "
            f"{', '.join(missing)} is in '{given}' for --split {options.part}: the others would be numbered "
            "otherwise than you say, so leave it out of --subset, or add its images"
        )
    if options.class_count is not None:
        choice.draw(options.class_count, there, options.seed)
        containers, archives = _containers(given, choice, request)
        collection = collected(containers)  # listed again: only what was drawn is recorded and read
    collection.notes += [f"nothing that lies below '{name}' is in '{given}'" for name in missing]
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
        return (split != "train") if name == "val" else name not in ("test", "Annotations", "ImageSets")

    if any(entry.is_dir() and enter(entry.name) for entry in given.iterdir()):
        containers.append(FolderContainer(given, enter))
    return containers, archives


def _solution(given: Path, containers: Sequence[Container]) -> dict[str, str]:
    """The wnid of each image of the part for validation by its name without a suffix; empty without a table.

    It lies beside Kaggle's folder ILSVRC, of which `given` may be one within, or in an archive.
    """
    content = b""
    if given.is_dir():
        places = (given, *given.resolve().parents[:3])
        beside = next((place / SOLUTION for place in places if (place / SOLUTION).is_file()), None)
        if beside is not None:
            try:
                content = read_bytes(beside, MAX_TABLE_BYTES)
            except UntrustedError as error:
                raise DataError(f"'{beside}' cannot be read ({error}): fetch it again") from error
    else:
        for container in containers:
            for member in container.members():
                if member.refusal is None and member.name.rpartition("/")[2] == SOLUTION:
                    content = container.read(member)
    found = {}
    for line in content.decode("utf-8", "replace").splitlines()[1:]:  # ImageId,PredictionString
        name, _, prediction = line.partition(",")
        wnid = prediction.strip('" ').partition(" ")[0]
        if not WNID.fullmatch(wnid):
            raise DataError(f"{SOLUTION} of '{given}' has a line without a wnid: fetch it again")
        found[name] = wnid
    return found


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
