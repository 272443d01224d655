"""The meaning of a source's folders: splits, classes, or only groups of numbered files."""

import re
from collections import Counter
from dataclasses import dataclass
from itertools import takewhile

from kennel.data.sources.compact_index import CompactStrings
from kennel.errors import DataError

SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""Names of split folders, in any case, and their splits."""

MAX_LOOSE = 0.1
"""Up to this share of the images (or one) may be outside the folders of the others; they are dropped."""

_INTEGER = re.compile(r"-?\d+")
_NUMBERED = re.compile(r"\d{5,}")


@dataclass(frozen=True)
class LayoutOptions:
    """The user's options for folders and labels.

    `split` is "train", "val", "test" or "all"; None takes train, or all if there is none. `labels` is "auto",
    "folders", "none" or the path of a file. `source` is the source's name in messages.
    """

    split: str | None = None
    labels: str = "auto"
    source: str = "the source"


def common_top(paths: CompactStrings, stop: frozenset[str] = frozenset()) -> str:
    """The folders that contain all paths, each with its "/", up to the first that is in `stop`."""
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
    """Whether `loose` of `total` images are few enough to be dropped."""
    return loose <= max(1, MAX_LOOSE * total) and loose < total / 2


class NoSplitsError(DataError):
    """A split was requested of a source without splits."""


class Splits:
    """The split folders of a source, and the choice among them.

    `depth` is the number of folders above the split folders, None without splits; `counts` has the number of
    images in each split folder, by its name.
    """

    def __init__(self, paths: CompactStrings, top: str) -> None:
        """`top` are the folders that contain all `paths`."""
        self.depth: int | None = None
        self.counts: Counter[str] = Counter()
        tops = top.split("/")[:-1]
        above = [depth for depth, folder in enumerate(tops) if folder.lower() in SPLITS]
        if above:  # only one split
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
        """The split of a path, "" for none."""
        return "" if self.depth is None else SPLITS.get(_folder(path, self.depth).lower(), "")

    def without(self, path: str) -> str:
        """The path without its split folder."""
        parts = path.split("/")
        if self.depth is not None and self.of(path):
            del parts[self.depth]
        return "/".join(parts)

    def chosen(self, split: str | None, source: str) -> frozenset[str]:
        """The splits to take. Raises `DataError` if `split` is missing."""
        present = {SPLITS[name.lower()] for name in self.counts}
        if self.depth is None:
            if split in (None, "all"):
                return frozenset(("",))
            raise NoSplitsError(f"'{source}' has no folders of splits (train, val, test)")
        if split in (None, "all"):
            return frozenset(("train",)) if split is None and "train" in present else frozenset(present)
        if split not in present:
            raise DataError(
                f"--split is {split}, but '{source}' has {self._listed()}: give one of these, or all"
            )
        return frozenset((str(split),))

    def sentence(self, chosen: frozenset[str]) -> str:
        """Lists the splits and those that are used."""
        others = "--split chooses (train, val, test, all)" if len(self.counts) > 1 else "there is no other"
        taken = [name for name in self.counts if SPLITS[name.lower()] in chosen]
        return f"folders of splits: {self._listed()}; used: {', '.join(taken)} ({others})"

    def _listed(self) -> str:
        return ", ".join(f"{name} ({count:,})" for name, count in sorted(self.counts.items()))


def _folder(path: str, depth: int) -> str:
    """The folder below `depth` others, "" if the file is above it."""
    parts = path.split("/", depth + 1)
    return parts[depth] if len(parts) > depth + 1 else ""


def first_folder(path: str) -> str:
    """The first folder of a path, "" if it has none."""
    top, slash, _ = path.partition("/")
    return top if slash else ""


def class_folders(paths: CompactStrings, labels: str) -> tuple[bool, str]:
    """Whether the first folders of `paths` are classes; and a note if that is not obvious.

    They are not if there are fewer than two, if more than a few images are outside of them, or if they only
    number the files (00000, 01000, ...). With `labels` "folders" they always are.
    """
    counts = Counter(map(first_folder, paths))
    loose = counts.pop("", 0)
    if labels == "folders":
        return bool(counts), "" if counts else "no classes: no image is in a folder"
    if len(counts) < 2:
        note = "no classes: not every image is in a subfolder of its class"
        return bool(counts) and not loose, note if counts and loose else ""
    if all(_NUMBERED.fullmatch(name) for name in counts):
        return False, (
            f"no classes: the {len(counts):,} folders only number the files (--labels folders makes "
            "classes of them)"
        )
    if not is_few(loose, len(paths)):
        stray = next(path for path in paths if not first_folder(path))
        return False, (
            f"no classes: {loose:,} of {len(paths):,} images are not in a subfolder, such as {stray} "
            "(--labels folders keeps the classes and leaves these out)"
        )
    return True, ""


def in_order(classes: set[str]) -> tuple[str, ...]:
    """Sorted by number if all are integers, else by name."""
    numbers = all(_INTEGER.fullmatch(name) for name in classes)
    return tuple(sorted(classes, key=int if numbers else None))
