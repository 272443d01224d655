"""Opens SOURCE as a collection: a known set, idx files, or a folder, zip or tar."""

import shlex
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from kennel.data.sources.arrays import idx_collection, idx_files, is_idx_name, labels_for
from kennel.data.sources.catalog import KNOWN_SETS, fetch, set_with
from kennel.data.sources.collection import Collection
from kennel.data.sources.containers import FolderContainer, is_archive, open_container
from kennel.data.sources.index import FileCollection
from kennel.data.sources.layouts import LayoutOptions, NoSplitsError
from kennel.data.sources.openers import Opened, Request, files_among
from kennel.data.sources.options import PrepareOptions
from kennel.errors import DataError
from kennel.registry import unknown_name

DEFAULT_SIZE = 64
"""Side of packed photographs without `--size`."""


@dataclass(frozen=True)
class Source:
    """An opened source.

    `options` have the source's defaults filled in; `size` is the side of the packed images; `name` is SOURCE
    as given; `kind` is "known set", "idx", "folder" or "archive"; `archives` are the files to record, by
    name.
    """

    collection: Collection
    options: PrepareOptions
    size: int
    name: str
    kind: str
    archives: dict[str, Path]


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

    A known set has precedence over a file of the same name (`./digits` is the file). Raises `DataError` or
    `UnknownNameError`.
    """
    name = str(source)
    known = KNOWN_SETS[name] if name in KNOWN_SETS else None  # noqa: SIM401 - a registry has no `get`
    _check_set_options(name, options)
    with ExitStack() as stack:
        if known:
            options = replace(options, crop=options.crop or known.crop, split=options.part)
            _refuse_val(name, options.split)
            files = fetch(known, given, on_download)
            opened = known.open(Request(name, files, options, scratch, stack))
            kind = "known set"
        elif given is not None:
            raise DataError(f"--from needs a known set as SOURCE ({', '.join(KNOWN_SETS)}), not '{name}'")
        else:
            path = Path(source)
            if not path.exists() and len(path.parts) == 1 and not is_archive(path):
                raise unknown_name("folder, archive or known set", name, KNOWN_SETS)
            options = replace(options, crop=options.crop or "none")
            opened, kind = _open_path(path, options, scratch, stack)
        collection = opened.collection
        size = options.size or collection.native_size or DEFAULT_SIZE
        keep = collection.keeps_duplicates if options.keep_duplicates is None else options.keep_duplicates
        _check_exclusions(collection, options.exclude)
        options = replace(options, size=size, keep_duplicates=keep)
        yield Source(collection, options, size, name, kind, opened.archives)


def _open_path(
    path: Path, options: PrepareOptions, scratch: Path | None, stack: ExitStack
) -> tuple[Opened, str]:
    pairs = []
    if path.is_dir() and idx_files(path, "all"):
        _refuse_val(str(path), options.split)
        pairs = idx_files(path, options.part)
    if path.is_file() and is_idx_name(path):
        if options.split not in (None, "all"):
            raise DataError(
                f"--split is {options.split}, but '{path}' is one part: give the folder, or no --split"
            )
        pairs = [(path, labels_for(path))]
    if pairs:
        return Opened(idx_collection(pairs, None, scratch), files_among([path])), "idx"
    known = set_with(path.resolve().name)
    hint = f"'{path}' belongs to {known}: kennel data prepare {known} DEST --from {shlex.quote(str(path))}"
    try:
        container = stack.enter_context(closing(open_container(path, scratch)))
    except DataError as error:
        if known and path.is_file():
            raise DataError(hint) from error
        raise
    kind = "folder" if isinstance(container, FolderContainer) else "archive"
    layout = LayoutOptions(options.split, options.labels, str(path))
    try:
        collection = FileCollection([container], with_annotations=options.crop == "box", options=layout)
    except NoSplitsError:
        reason = "which has no folders of splits (train, val, test)"
        raise DataError(f"{_unsupported('split', str(path))}, {reason}") from None
    if known and not len(collection) and not collection.refusals:
        raise DataError(hint)
    return Opened(collection, files_among([path])), kind


def _refuse_val(source: str, split: str | None) -> None:
    if split == "val":
        raise DataError(
            f"--split is val, but '{source}' has the parts train and test: give one of these, or all"
        )


def _check_set_options(source: str, options: PrepareOptions) -> None:
    """Raises `DataError` for an option that SOURCE does not support."""
    supported = KNOWN_SETS[source].options if source in KNOWN_SETS else ("split",)
    if options.labels != "auto" and source in KNOWN_SETS:
        raise DataError(f"--labels is for a folder or archive, but the classes of {source} are known")
    for option in options.set_specific():
        if option not in supported:
            raise DataError(_unsupported(option, source))


def _unsupported(option: str, source: str) -> str:
    sets = [name for name in KNOWN_SETS if option in KNOWN_SETS[name].options]
    named = f"{', '.join(sets[:-1])} and {sets[-1]}" if len(sets) > 1 else sets[0]
    return f"--{option.replace('_', '-')} is for {named}, but SOURCE is '{source}'"


def _check_exclusions(collection: Collection, names: tuple[str, ...]) -> None:
    """Raises `DataError` for an excluded name that no image has: it is probably a typing error."""
    missing = set(names)
    for index in range(len(collection) if missing else 0):
        missing -= names_of(collection.name(index))
        if not missing:
            return
    if missing:
        raise DataError(f"--exclude names {', '.join(sorted(missing))}, but the source has no such image")


def names_of(name: str) -> set[str]:
    """The names by which an image can be excluded: `class/file.jpg`, `file.jpg`, `file`."""
    last = name.rpartition("/")[2]
    return {name, last, last.rpartition(".")[0] or last}
