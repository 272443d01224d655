"""What the folders of a source say: which are splits, which are classes, and which only number files."""

import re
from array import array
from collections import Counter
from collections.abc import Collection as Sized
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import takewhile

from kennel.data.sources.compact_index import CompactStrings
from kennel.errors import DataError

SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""What folders of splits are called, in any case, and which split each is."""

MOST_LOOSE = 0.1
"""Up to this share of the images (or one) may lie outside of the folders of the others, and is dropped."""

_WHOLE = re.compile(r"-?\d+")
_NUMBERED = re.compile(r"\d{5,}")


@dataclass(frozen=True)
class Asked:
    """What the user says about folders and labels."""

    split: str | None = None
    """"train", "val", "test", "all"; None takes train, or all where there is no such folder."""
    labels: str = "auto"
    """"auto", "folders", "none", or a file's path."""
    source: str = "the source"
    """What messages call it."""


def common_top(paths: CompactStrings, stop: frozenset[str] = frozenset()) -> str:
    """The folders, each with its "/", that all paths lie in, up to one that is in `stop`."""
    common: list[str] | None = None
    for path in paths:
        folders = path.split("/")[:-1]
        if common is None:
            common = list(takewhile(lambda folder: folder not in stop, folders))
        else:
            pairs = zip(common, folders, strict=False)
            common = [folder for folder, _ in takewhile(lambda pair: pair[0] == pair[1], pairs)]
        if not common:
            return ""
    return "".join(f"{folder}/" for folder in common or ())


def is_few(loose: int, total: int) -> bool:
    """Whether so many images of all are strays among the others."""
    return loose <= max(1, MOST_LOOSE * total) and loose < total / 2


class NoSplitsError(DataError):
    """A split is asked of a source that has none."""


class Splits:
    """The folders of splits that images lie in, and the choice among them."""

    def __init__(self, paths: CompactStrings, top: str) -> None:
        """`paths` as they are listed, all of them below the folders of `top`."""
        self.top = top
        self.depth: int | None = None
        """The number of folders before those of the splits; None without splits."""
        tops = top.split("/")[:-1]
        self.counts: Counter[str] = Counter()
        """How many images lie in each folder, as the folders are spelled."""
        above = [place for place, folder in enumerate(tops) if folder.lower() in SPLITS]
        if above:  # there is one alone
            self.depth, self.counts = above[-1], Counter({tops[above[-1]]: len(paths)})
            return
        for depth in (len(tops), len(tops) + 1):
            folders = Counter(_folder(path, depth) for path in paths)
            found = Counter({name: n for name, n in folders.items() if name.lower() in SPLITS})
            several = len({SPLITS[name.lower()] for name in found}) > 1
            if several and is_few(len(paths) - found.total(), len(paths)):
                self.depth, self.counts = depth, found
                return

    def of(self, path: str) -> str:
        """The split that a path lies in, "" for none."""
        return "" if self.depth is None else SPLITS.get(_folder(path, self.depth).lower(), "")

    def without(self, path: str) -> str:
        """The path without the folder of its split."""
        parts = path.split("/")
        if self.depth is not None and self.of(path):
            del parts[self.depth]
        return "/".join(parts)

    def chosen(self, asked: str | None, source: str) -> frozenset[str]:
        """The splits to take. Raises `DataError` where the one asked for is not there."""
        there = {SPLITS[name.lower()] for name in self.counts}
        if self.depth is None:
            if asked in (None, "all"):
                return frozenset(("",))
            raise NoSplitsError(f"'{source}' has no folders of splits (train, val, test)")
        if asked in (None, "all"):
            return frozenset(("train",)) if asked is None and "train" in there else frozenset(there)
        if asked not in there:
            raise DataError(
                f"--split is {asked}, and '{source}' has {self._listed()}: give one of these, or all"
            )
        return frozenset((str(asked),))

    def sentence(self, chosen: frozenset[str]) -> str:
        """What there is, and what is taken."""
        others = "--split chooses (train, val, test, all)" if len(self.counts) > 1 else "there is no other"
        taken = [name for name in self.counts if SPLITS[name.lower()] in chosen]
        return f"folders of splits: {self._listed()}; taken: {', '.join(taken)} ({others})"

    def _listed(self) -> str:
        return ", ".join(f"{name} ({count:,})" for name, count in sorted(self.counts.items()))


def _folder(path: str, depth: int) -> str:
    """The folder after `depth` others, "" where the file lies before."""
    parts = path.split("/", depth + 1)
    return parts[depth] if len(parts) > depth + 1 else ""


def first_folder(path: str) -> str:
    """The first folder of a path, "" where it has none."""
    top, slash, _ = path.partition("/")
    return top if slash else ""


def class_folders(paths: CompactStrings, labels: str) -> tuple[bool, str]:
    """Whether the first folders of `paths` are classes, and a sentence where that is not plain.

    Not where there are fewer than two, where more than a few images lie outside of them, or where they only
    number the files (00000, 01000, ...); with `labels` "folders" only where there is none.
    """
    counts = Counter(map(first_folder, paths))
    loose = counts.pop("", 0)
    if labels == "folders":
        return bool(counts), "" if counts else "no classes: no image lies in a folder"
    if len(counts) < 2:
        note = "no classes: not every image lies in a sub-folder of its own class"
        return bool(counts) and not loose, note if counts and loose else ""
    if all(_NUMBERED.fullmatch(name) for name in counts):
        return False, (
            f"no classes: the {len(counts):,} folders only number the files (--labels folders makes "
            "classes of them)"
        )
    if not is_few(loose, len(paths)):
        stray = next(path for path in paths if not first_folder(path))
        return False, (
            f"no classes: {loose:,} of {len(paths):,} images lie in no sub-folder, such as {stray} "
            "(--labels folders keeps the classes and leaves these out)"
        )
    return True, ""


def in_order(classes: set[str]) -> tuple[str, ...]:
    """By number where all are whole numbers, by name otherwise."""
    numbers = all(_WHOLE.fullmatch(name) for name in classes)
    return tuple(sorted(classes, key=int if numbers else None))


def numbered(keys: Iterable[str], classes: Sized[str]) -> "array[int]":
    """The label of each key."""
    number = {name: label for label, name in enumerate(classes)}
    return array("i", (number[key] for key in keys))
