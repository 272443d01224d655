"""ImageNet as published or unpacked: all of it, or the synsets below some WordNet names.

Russakovsky et al. 2015 (arXiv 1409.0575). Every file in a folder or tar named by a wnid is an image of that
synset, so ILSVRC2012 and the whole of ImageNet are read alike.
"""

import re
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from kennel.data.sources.collection import Refusal
from kennel.data.sources.containers import Container, FolderContainer, TarContainer
from kennel.data.sources.index import Arrangement, FileCollection
from kennel.data.sources.nested_tars import NestedTars, TarSlice, tars_in_folder, tars_in_tar
from kennel.data.sources.openers import Opened, Request, files_among
from kennel.data.sources.wordnet import WNID, WordNetNouns, nouns
from kennel.errors import DataError
from kennel.storage.untrusted import as_data_error, read_bytes

TRAINING = "ILSVRC2012_img_train.tar"
SOLUTION = "LOC_val_solution.csv"
"""Kaggle's table of the synsets of the validation images, which are in one folder there."""
MAX_TABLE_BYTES = 64 << 20
"""It has 3 MB."""

_PLACE = re.compile(r"(?:.*/)?(n\d{8})/([^/]+)")


class Selection:
    """The selected synsets, and the class of each."""

    def __init__(self, subset: Sequence[str], by_name: bool, table: WordNetNouns) -> None:
        """`subset` are names of synsets, empty for all; `by_name` makes each a class."""
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
                        f"{table.label(wnid)} is below both '{other}' and '{name}': with --classes subset "
                        "the names of --subset must not overlap"
                    )

    def includes(self, wnid: str) -> bool:
        """Whether the name of a folder or tar is a selected wnid."""
        if self._drawn is not None:
            return wnid in self._drawn
        return bool(WNID.fullmatch(wnid)) and (not self.below or wnid in self._name_of)

    def draw(self, count: int, found: Collection[str], seed: int) -> None:
        """Restricts the selection to `count` of the wnids `found`, drawn uniformly. Raises `DataError`."""
        if count > len(found):
            raise DataError(
                f"--class-count is {count}, but there are images of {len(found)} synsets: give at most that"
            )
        drawn = np.random.default_rng(seed).choice(sorted(found), count, replace=False)
        self._drawn = frozenset(map(str, drawn))

    def label(self, wnid: str) -> str:
        return self._name_of[wnid] if self._by_name else self._table.label(wnid)

    def classes(self) -> tuple[str, ...] | None:
        """The classes in the order of the given names; None sorts them by wnid."""
        return tuple(self.below) if self._by_name else None


def open_imagenet(request: Request) -> Opened:
    """The images below the names of `--subset`, or all; with `--class-count`, of a random choice of synsets.

    "test" is the validation part, unpacked in `val`, in folders or with Kaggle's table (the classes of the
    test part are not published). Raises `DataError` if there are no images, or none of a name that is to be a
    class.
    """
    options, given = request.options, request.files[0]
    selection = Selection(options.subset, options.classes == "subset", nouns())
    seen: set[str] = set()
    containers, archives = _containers(given, selection, request)
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
            unlisted = f", and {SOLUTION} does not list it" if part == "test" else ""
            return Refusal(path, "no synset", f"its folder is not named by a wnid{unlisted}")
        if not selection.includes(wnid):
            return None
        seen.add(wnid)
        return f"{selection.label(wnid)}/{file}"

    def collect(containers: list[Container]) -> FileCollection:
        arrangement = Arrangement(place, selection.classes())
        return FileCollection(containers, with_annotations=False, arrangement=arrangement)

    collection = collect(containers)
    if not len(collection) and not collection.refusals:
        below = f" below {', '.join(options.subset)}" if options.subset else ""
        raise DataError(
            f"'{given}' has no images of ImageNet{below} for --split {options.part}: give {TRAINING}, or a "
            "folder that holds it, or one of tars nXXXXXXXX.tar or folders nXXXXXXXX"
        )
    found = frozenset(seen)
    missing = [name for name, wnids in selection.below.items() if found.isdisjoint(wnids)]
    if missing and options.classes == "subset":
        raise DataError(
            f"--classes subset makes a class of each name, but '{given}' has no images below "
            f"{', '.join(missing)} for --split {options.part}: leave it out of --subset, or add its images"
        )
    if options.class_count is not None:
        selection.draw(options.class_count, found, options.seed)
        containers, archives = _containers(given, selection, request)
        collection = collect(containers)  # listed again with only the drawn synsets
    collection.notes += [f"'{given}' has no images below '{name}'" for name in missing]
    return Opened(collection, archives)


def _containers(
    given: Path, selection: Selection, request: Request
) -> tuple[list[Container], dict[str, Path]]:
    """The containers of the selected images, with as few files as possible, and the archives among them."""
    split = request.options.part
    if given.is_file():
        if _is_tar_of_tars(given, request):
            return [NestedTars(tars_in_tar(given, selection.includes))], {given.name: given}
        return [request.container(given)], files_among([given])
    containers: list[Container] = []
    archives: dict[str, Path] = {}
    published = given / TRAINING
    if published.is_file() and split != "test":
        containers.append(NestedTars(tars_in_tar(published, selection.includes)))
        archives[TRAINING] = published
    tars = [] if published.is_file() or split == "test" else _loose_tars(given, selection)
    if tars:
        containers.append(NestedTars(tars))
        archives |= {tar.path.name: tar.path for tar in tars}

    def enter(folder: str) -> bool:
        name = folder.rpartition("/")[2]
        if WNID.fullmatch(name):
            is_packed = published.is_file() and "val" not in folder.split("/")
            return selection.includes(name) and not is_packed
        return (split != "train") if name == "val" else name not in ("test", "Annotations", "ImageSets")

    if any(entry.is_dir() and enter(entry.name) for entry in given.iterdir()):
        containers.append(FolderContainer(given, enter))
    return containers, archives


def _solution(given: Path, containers: Sequence[Container]) -> dict[str, str]:
    """The wnid of each validation image, from Kaggle's table in the archive or up to 3 levels above."""
    content = b""
    if given.is_dir():
        places = (given, *given.resolve().parents[:3])
        table = next((place / SOLUTION for place in places if (place / SOLUTION).is_file()), None)
        if table is not None:
            with as_data_error(f"'{table}' cannot be read", "fetch it again"):
                content = read_bytes(table, MAX_TABLE_BYTES)
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
    container = request.container(path)
    first = next(container.members(), None) if isinstance(container, TarContainer) else None
    return first is not None and first.name.endswith(".tar")


def _loose_tars(given: Path, selection: Selection) -> list[TarSlice]:
    """The tars of the synsets in the folder or its `train`, except those already unpacked next to them."""
    places = [folder for folder in (given, given / "train") if folder.is_dir()]
    tars = [tar for folder in places for tar in tars_in_folder(folder, selection.includes)]
    return [tar for tar in tars if not tar.path.with_suffix("").is_dir()]
