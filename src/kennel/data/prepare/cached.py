"""A folder, zip or tar of pictures, or a known set: prepared once, and kept in the cache.

A packed set is found again by the pictures' names and content and by its side, so that the same command opens
the same set, and pictures that were added make another.
"""

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

import kennel
from kennel.data.dataset import FORMAT, ImageDataset
from kennel.data.prepare.pipeline import prepare
from kennel.data.sources.catalog import KNOWN_SETS
from kennel.data.sources.containers import FolderContainer
from kennel.data.sources.decode import MAX_PIXELS, upright_size
from kennel.data.sources.index import Collection
from kennel.data.sources.options import PrepareOptions
from kennel.data.sources.resolve import open_source
from kennel.errors import DataError
from kennel.storage.cache import cache_folder
from kennel.storage.hashing import file_sha256

LOOKED_AT = 256
"""Pictures, evenly among all, whose sides are looked at."""
SMALLER = 0.1
"""The share of pictures that may be smaller than the side that is told: one thumbnail decides nothing."""

IN_MEMORY = "images in memory"
"""The kind of a packed set that was made of an array or a data set of PyTorch."""
_SUFFIXES = re.compile(r"(\.(zip|tar|tgz|gz|bz2|xz|npz))+$", re.IGNORECASE)
_OWN = ("dataset.json", "images.npy", "run.json")
"""Files of a packed set, whole or not, and of a run: such a folder is no collection of pictures."""


@dataclass(frozen=True)
class Look:
    """Of a collection that is not prepared yet: how many pictures there are, and the shorter side in pixels
    that nine of ten have at least (0 where none can be read)."""

    count: int
    side: int


def is_plain(path: Path) -> bool:
    """Whether this is a collection of pictures as they lie: a file, or a folder with something in it that is
    neither a packed set nor a run."""
    if path.is_dir():
        return not any((path / name).exists() for name in _OWN) and any(path.iterdir())
    return path.is_file()


def is_known(path: Path) -> bool:
    """Whether this names a known set, and no file or folder."""
    return str(path) in KNOWN_SETS and not path.exists()


def look(source: Path) -> Look:
    """Counts the pictures and reads headers; decodes nothing. Raises `DataError` for an unreadable source."""
    with open_source(source, PrepareOptions()) as opened:
        collection = opened.collection
        if collection.native_size:
            return Look(len(collection), collection.native_size)
        places = np.linspace(0, len(collection) - 1, min(len(collection), LOOKED_AT)).astype(np.int64)
        sides = [side for index in np.unique(places) if (side := _side(collection, int(index)))]
        return Look(len(collection), int(np.quantile(sides, SMALLER, method="lower")) if sides else 0)


def _side(collection: Collection, index: int) -> int:
    """The shorter side of a picture as it is shown; 0 where it cannot be read, which `prepare` will tell."""
    try:
        name = collection.name(index)
        return min(upright_size(*collection.header(collection.read(index), MAX_PIXELS, name)))
    except DataError:
        return 0


def prepared(
    source: str | Path,
    size: int | None,
    on_progress: Callable[[int, int], None] | None = None,
    options: PrepareOptions | None = None,
) -> tuple[ImageDataset, bool]:
    """The packed set of `source` at a side of `size` pixels, and whether it was made now.

    It is what `kennel data prepare SOURCE DEST --size N` makes, with `options` where they are given; `source`
    is a path or a known set's name. Raises `DataError` where that does.
    """
    options = replace(options or PrepareOptions(), size=size)
    place = place_of(source, size, options)
    if (place / "dataset.json").is_file():
        try:
            return ImageDataset(place), False
        except DataError:  # damaged, or of another kennel: it is made again
            pass
    return prepare(source, place, options, on_progress, overwrite=True), True


def place_of(source: str | Path, size: int | None, options: PrepareOptions | None = None) -> Path:
    """The folder in the cache of the prepared set of `source` at this side, made or not."""
    digest = _digest(replace(options or PrepareOptions(), size=size), source)
    return cache_folder() / "prepared" / f"{digest}-{size or 'own'}"


def source_name(data: Path) -> str:
    """What a set is called after: its folder or file; of one in the cache, what it was made of."""
    path = data.resolve()
    if path.parent == (cache_folder() / "prepared").resolve() and (path / "dataset.json").is_file():
        provenance = ImageDataset(path).about.get("provenance", {})
        name = Path(str(provenance.get("source", ""))).name
        if provenance.get("kind") == IN_MEMORY:  # its name alone tells no two of them apart
            return f"{name}-{path.name.rpartition('-')[2][:8]}"
        return _SUFFIXES.sub("", name).replace(" ", "-") or path.name
    return _SUFFIXES.sub("", path.name) if path.is_file() else path.name


def _digest(options: PrepareOptions, source: str | Path) -> str:
    """Of the names and contents of all files, and of what makes a packed set of them."""
    digest = hashlib.blake2b(f"{FORMAT} {kennel.__version__}".encode(), digest_size=12)
    if options != PrepareOptions(size=options.size):
        digest.update(json.dumps(options.to_json(), sort_keys=True).encode())
    if str(source) in KNOWN_SETS:
        digest.update(f"the known set {source}".encode())
        return digest.hexdigest()
    source = Path(source)
    if not source.is_dir():
        digest.update(file_sha256(source).encode())
        return digest.hexdigest()
    container = FolderContainer(source)
    for member in sorted(container.members(), key=lambda one: one.name):
        if member.refusal:
            continue
        try:
            content = hashlib.blake2b(container.read(member), digest_size=16).hexdigest()
        except DataError as error:
            content = str(error)
        digest.update(f"{member.name}\0{content}\0".encode(errors="surrogateescape"))
    return digest.hexdigest()
