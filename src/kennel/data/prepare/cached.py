"""Packed sets in the cache, made once from a folder, zip, tar or known set.

The key is a digest of the files' names and contents, the size and the options, so a changed source gives
another set.
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
from kennel.data.sources.collection import Collection
from kennel.data.sources.containers import FolderContainer
from kennel.data.sources.decode import MAX_PIXELS, upright_size
from kennel.data.sources.options import PrepareOptions
from kennel.data.sources.resolve import open_source
from kennel.errors import DataError
from kennel.storage.cache import cache_folder
from kennel.storage.hashing import file_sha256

SAMPLED_SIDES = 256
"""Images, evenly chosen, whose sides are read."""
SMALLER = 0.1
"""The share of images that may be smaller than `Look.side`, so that one thumbnail does not decide it."""

IN_MEMORY = "images in memory"
"""The recorded kind of a packed set made from an array or a PyTorch data set."""
_SUFFIXES = re.compile(r"(\.(zip|tar|tgz|gz|bz2|xz|npz))+$", re.IGNORECASE)
_KENNEL_FILES = ("dataset.json", "images.npy", "run.json")
"""Files of a packed set, complete or not, or of a run."""


@dataclass(frozen=True)
class Look:
    """The number of images in a source, and the shorter side in pixels that 90% of them reach (0 if none can
    be read)."""

    count: int
    side: int


def is_plain(path: Path) -> bool:
    """Whether this is a source of images: a file, or a folder that is not empty, a packed set or a run."""
    if path.is_dir():
        return not any((path / name).exists() for name in _KENNEL_FILES) and any(path.iterdir())
    return path.is_file()


def is_known(path: Path) -> bool:
    """Whether this is the name of a known set and not of a file or folder."""
    return str(path) in KNOWN_SETS and not path.exists()


def look(source: Path) -> Look:
    """Counts the images and reads some headers. Raises `DataError` for an unreadable source."""
    with open_source(source, PrepareOptions()) as opened:
        collection = opened.collection
        if collection.native_size:
            return Look(len(collection), collection.native_size)
        places = np.linspace(0, len(collection) - 1, min(len(collection), SAMPLED_SIDES)).astype(np.int64)
        sides = [side for index in np.unique(places) if (side := _side(collection, int(index)))]
        return Look(len(collection), int(np.quantile(sides, SMALLER, method="lower")) if sides else 0)


def _side(collection: Collection, index: int) -> int:
    """The shorter side of an image; 0 if it cannot be read, which `prepare` will report."""
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
    """The result of `kennel data prepare SOURCE DEST --size N` in the cache, and whether it was made now."""
    options = replace(options or PrepareOptions(), size=size)
    place = place_of(source, size, options)
    if (place / "dataset.json").is_file():
        try:
            return ImageDataset(place), False
        except DataError:  # damaged, or of another version: make it again
            pass
    return prepare(source, place, options, on_progress, overwrite=True), True


def place_of(source: str | Path, size: int | None, options: PrepareOptions | None = None) -> Path:
    """The cache folder for the packed set of `source` at this size; it may not exist."""
    digest = _digest(replace(options or PrepareOptions(), size=size), source)
    return cache_folder() / "prepared" / f"{digest}-{size or 'own'}"


def source_name(data: Path) -> str:
    """The name of a set: of its folder or file; for a cached set, of its source."""
    path = data.resolve()
    if path.parent == (cache_folder() / "prepared").resolve() and (path / "dataset.json").is_file():
        provenance = ImageDataset(path).about.get("provenance", {})
        name = Path(str(provenance.get("source", ""))).name
        if provenance.get("kind") == IN_MEMORY:  # several have the same source name
            return f"{name}-{path.name.rpartition('-')[2][:8]}"
        return _SUFFIXES.sub("", name).replace(" ", "-") or path.name
    return _SUFFIXES.sub("", path.name) if path.is_file() else path.name


def _digest(options: PrepareOptions, source: str | Path) -> str:
    """A digest of the names and contents of all files, of the version and the options."""
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
    for member in sorted(container.members(), key=lambda member: member.name):
        if member.refusal:
            continue
        try:
            content = hashlib.blake2b(container.read(member), digest_size=16).hexdigest()
        except DataError as error:
            content = str(error)
        digest.update(f"{member.name}\0{content}\0".encode(errors="surrogateescape"))
    return digest.hexdigest()
