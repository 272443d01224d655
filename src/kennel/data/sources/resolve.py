"""From what the user calls SOURCE to a collection: a known name, idx files, or a folder, zip or tar."""

import shlex
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from kennel.data.sources.arrays import idx_collection, idx_files, is_idx_name, labels_beside
from kennel.data.sources.catalog import KNOWN_SETS, fetch, set_with
from kennel.data.sources.containers import FolderContainer, is_archive, open_container
from kennel.data.sources.index import Collection, FileCollection
from kennel.data.sources.layouts import Asked, NoSplitsError
from kennel.data.sources.openers import Opened, Request, files_among
from kennel.data.sources.options import PrepareOptions
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
    name: str
    """What was given as SOURCE."""
    kind: str
    """Of which kind it is: "known set", "idx", "folder" or "archive"."""
    archives: dict[str, Path]
    """The files that it is read from, by the names they are recorded under."""


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
            raise DataError(
                f"--from goes with the name of a known set ({', '.join(KNOWN_SETS)}), and SOURCE is '{name}'"
            )
        else:
            path = Path(source)
            if not path.exists() and len(path.parts) == 1 and not is_archive(path):
                raise unknown_name("folder, archive or known set", name, KNOWN_SETS)
            options = replace(options, crop=options.crop or "none")
            opened, kind = _open_path(path, options, scratch, stack)
        collection = opened.collection
        size = options.size or collection.native_size or DEFAULT_SIZE
        duplicates = options.keep_duplicates
        if duplicates is None:
            duplicates = collection.keeps_duplicates
        _check_exclusions(collection, options.exclude)
        options = replace(options, size=size, keep_duplicates=duplicates)
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
                f"--split is {options.split}, and '{path}' is one part: give the folder, or no --split"
            )
        pairs = [(path, labels_beside(path))]
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
    asked = Asked(options.split, options.labels, str(path))
    try:
        collection = FileCollection([container], with_annotations=options.crop == "box", asked=asked)
    except NoSplitsError:
        why = "which has no folders of splits (train, val, test)"
        raise DataError(f"{_goes_with('split', str(path))}, {why}") from None
    if known and not len(collection) and not collection.refusals:
        raise DataError(hint)
    return Opened(collection, files_among([path])), kind


def _refuse_val(source: str, split: str | None) -> None:
    if split == "val":
        raise DataError(
            f"--split is val, and '{source}' has the parts train and test: give one of these, or all"
        )


def _check_set_options(source: str, options: PrepareOptions) -> None:
    """An option that SOURCE does not understand is refused and not passed over."""
    understood = KNOWN_SETS[source].options if source in KNOWN_SETS else ("split",)
    if options.labels != "auto" and source in KNOWN_SETS:
        raise DataError(f"--labels goes with a folder or archive, and the classes of {source} are known")
    for option in options.of_known_sets():
        if option not in understood:
            raise DataError(_goes_with(option, source))


def _goes_with(option: str, source: str) -> str:
    sets = [name for name in KNOWN_SETS if option in KNOWN_SETS[name].options]
    named = f"{', '.join(sets[:-1])} and {sets[-1]}" if len(sets) > 1 else sets[0]
    return f"--{option.replace('_', '-')} goes with {named}, and SOURCE is '{source}'"


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
