"""From what the user calls SOURCE to a collection: a known name, idx files, or a folder, zip or tar."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kennel.data.arrays import idx_collection, idx_files, is_idx_name, labels_beside
from kennel.data.collection import ArrayCollection, Collection, FileCollection
from kennel.data.containers import Container, FolderContainer, is_archive, open_container, sha256_of
from kennel.data.known_sets import KNOWN_SETS, fetch, open_known
from kennel.data.options import PrepareOptions
from kennel.errors import DataError
from kennel.registry import unknown_name

DEFAULT_SIZE = 64
"""Side of packed photographs where `--size` is not given."""


@dataclass(frozen=True)
class Source:
    """An opened source."""

    collection: Collection
    options: PrepareOptions
    """With the defaults of this source filled in."""
    size: int
    """Side of the packed images."""
    about: dict[str, Any]
    """For the provenance: what was given, of which kind, its archives with their SHA-256."""


def folder_of(source: str | Path) -> Path | None:
    """The folder that a source is, None where it is a file or a known name."""
    return None if str(source) in KNOWN_SETS or not Path(source).is_dir() else Path(source)


@contextmanager
def open_source(
    source: str | Path,
    options: PrepareOptions,
    *,
    given: Path | None = None,
    scratch: Path | None = None,
    on_download: Callable[[int, int], None] | None = None,
) -> Iterator[Source]:
    """Opens SOURCE for the block. `given` is the folder of `--from`; `scratch` is for temporary files.

    A known set's name comes before a file of the same name (`./digits` is the file). Raises `DataError` or
    `UnknownNameError`.
    """
    name = str(source)
    containers: list[Container] = []
    collection: Collection
    try:
        if name in KNOWN_SETS:
            known = KNOWN_SETS[name]
            files = fetch(known, given, on_download) if known.files else []
            options = replace(options, crop=options.crop or known.crop)
            collection, containers = open_known(
                known, files, options.split, with_annotations=options.crop == "box", scratch=scratch
            )
            kind = "known set"
        elif given is not None:
            raise DataError(
                f"--from goes with the name of a known set ({', '.join(KNOWN_SETS)}), and SOURCE is '{name}'"
            )
        else:
            path = Path(source)
            if not path.exists() and len(path.parts) == 1 and not is_archive(path):
                raise unknown_name("folder, archive or known set", name, KNOWN_SETS)
            options = replace(options, crop=options.crop or "none")
            collection, containers, kind = _open_path(path, options, scratch)
            files = [path]
        archives = [file for file in files if file.is_file()]
        about = {
            "source": name,
            "kind": kind,
            "files": [{"name": file.name, "sha256": sha256_of(file)} for file in archives],
        }
        size = options.size or collection.native_size or DEFAULT_SIZE
        duplicates = options.keep_duplicates
        if duplicates is None:
            duplicates = isinstance(collection, ArrayCollection)
        _check_exclusions(collection, options.exclude)
        yield Source(collection, replace(options, size=size, keep_duplicates=duplicates), size, about)
    finally:
        for container in containers:
            container.close()


def _open_path(
    path: Path, options: PrepareOptions, scratch: Path | None
) -> tuple[Collection, list[Container], str]:
    pairs = idx_files(path, options.split) if path.is_dir() else []
    if path.is_file() and is_idx_name(path):
        pairs = [(path, labels_beside(path))]
    if pairs:
        return idx_collection(pairs, None, scratch), [], "idx"
    container = open_container(path, scratch)
    kind = "folder" if isinstance(container, FolderContainer) else "archive"
    try:
        return FileCollection([container], with_annotations=options.crop == "box"), [container], kind
    except BaseException:
        container.close()
        raise


def _check_exclusions(collection: Collection, names: tuple[str, ...]) -> None:
    """A name to exclude that nothing has is a slip of the pen: it is refused and not passed over."""
    missing = set(names)
    for index in range(len(collection) if missing else 0):
        missing -= names_of(collection.name(index))
        if not missing:
            return
    if missing:
        raise DataError(f"--exclude names {', '.join(sorted(missing))}, and the source has no such image")


def names_of(name: str) -> set[str]:
    """What an image may be called by: `class/file.jpg`, `file.jpg`, `file`."""
    last = name.rpartition("/")[2]
    return {name, last, last.rpartition(".")[0] or last}
