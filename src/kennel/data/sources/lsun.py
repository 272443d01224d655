"""LSUN as published: an LMDB per category, with an encoded image under each key.

Yu et al. 2015 (arXiv 1506.03365). Only the keys are kept in memory. Nothing is locked or written, so the
folder may be read-only. An LMDB in a zip, as published, is unpacked next to DEST for the run, because LMDB
needs a file.
"""

import re
import shutil
import threading
import zipfile
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from kennel.data.sources.collection import Collection
from kennel.data.sources.compact_index import CompactStrings
from kennel.data.sources.containers import max_unpacked_bytes
from kennel.data.sources.decode import check_size
from kennel.data.sources.index import printable_name
from kennel.data.sources.openers import Opened, Request
from kennel.errors import DataError
from kennel.registry import unknown_name
from kennel.storage.untrusted import as_data_error

_PARTS = {"train": ("train",), "test": ("val",), "all": ("train", "val")}
_NAME = re.compile(r"(.+)_(train|val)_lmdb")
_FILE = "data.mdb"
_ADDRESS = "http://dl.yf.io/lsun/scenes/"
_SCENES = (
    *("bedroom", "bridge", "church_outdoor", "classroom", "conference_room"),
    *("dining_room", "kitchen", "living_room", "restaurant", "tower"),
)


class Database(NamedTuple):
    """The LMDB of one category and part; `archive` is its zip if it is not unpacked."""

    category: str
    part: str
    folder: Path
    archive: Path | None = None

    def unpacked(self, request: Request) -> "Database":
        return self if self.archive is None else self._replace(folder=_unpack(self.archive, request))

    def source(self) -> tuple[str, Path]:
        if self.archive is not None:
            return self.archive.name, self.archive
        return f"{self.folder.name}/{_FILE}", self.folder / _FILE


def open_lsun(request: Request) -> Opened:
    """The categories in `--category`, or all that are found; several categories are classes."""
    given, options = request.files[0], request.options
    databases = _databases(given)
    parts = _PARTS[options.part]
    chosen = [database for database in databases if database.part in parts and not options.category]
    for category in sorted(options.category):
        chosen += [_find(category, part, databases, given) for part in parts]
    if not chosen:
        raise DataError(
            f"'{given}' has no LMDB: give a folder that holds church_outdoor_train_lmdb.zip or the like from "
            f"{_ADDRESS}church_outdoor_train_lmdb.zip, or its unpacked folder"
        )
    lmdb = _lmdb()
    opened = [database.unpacked(request) for database in chosen]
    collection = LmdbCollection(
        [(database.category, _open(lmdb, database.folder, request)) for database in opened]
    )
    collection.notes = [
        f"'{database.archive}' was unpacked temporarily, {(database.folder / _FILE).stat().st_size:,} bytes"
        for database in opened
        if database.archive is not None
    ]
    return Opened(collection, dict(database.source() for database in chosen))


class LmdbCollection(Collection):
    """The images in some LMDBs, by category, then in the order of their keys."""

    def __init__(self, databases: Sequence[tuple[str, Any]]) -> None:
        """`databases`: categories, sorted, each with a transaction that returns buffers."""
        names = tuple(dict.fromkeys(category for category, _ in databases))
        self.classes = names if len(names) > 1 else ()
        self._label_of = [names.index(category) for category, _ in databases]
        self._transactions = [transaction for _, transaction in databases]
        self._lock = threading.Lock()
        self._keys = CompactStrings()  # the bytes of the keys as Latin-1
        self._ends = []
        for transaction in self._transactions:
            with transaction.cursor() as cursor:
                for key in cursor.iternext(keys=True, values=False):
                    self._keys.append(bytes(key).decode("latin-1"))
            self._ends.append(len(self._keys))

    def __len__(self) -> int:
        return len(self._keys)

    def name(self, index: int) -> str:
        """The key, after its category if there are several."""
        key = printable_name(self._key(index).decode("utf-8", "backslashreplace"))
        return f"{self.classes[self.label(index)]}/{key}" if self.classes else key

    def label(self, index: int) -> int:
        return self._label_of[self._database(index)] if self.classes else -1

    def read(self, index: int) -> bytes:
        with self._lock:  # only one thread may use a transaction at a time
            with as_data_error("it cannot be read from the LMDB"):
                value = self._transactions[self._database(index)].get(self._key(index))
            if value is None:
                raise DataError("the LMDB lists it but does not have it")
            check_size(len(value))
            return bytes(value)

    def _key(self, index: int) -> bytes:
        return self._keys[index].encode("latin-1")

    def _database(self, index: int) -> int:
        return next(number for number, end in enumerate(self._ends) if index < end)


def _databases(given: Path) -> list[Database]:
    """The LMDBs in the folder, or the one LMDB at the path; unpacked ones are preferred to zips."""
    if given.is_file():
        return [Database(*_category_and_part(given.stem), given.parent, given)]
    folders = [given] if (given / _FILE).is_file() else sorted(given.iterdir())
    found: dict[tuple[str, str], Database] = {}
    for path in folders:
        if path.is_file() and path.suffix == ".zip" and _NAME.fullmatch(path.stem):
            key = _category_and_part(path.stem)
            found.setdefault(key, Database(*key, path.parent, path))
        elif (path / _FILE).is_file():
            key = _category_and_part(path.resolve().name)
            found[key] = Database(*key, path)
    return sorted(found.values(), key=lambda database: database[:2])


def _category_and_part(name: str) -> tuple[str, str]:
    """LSUN objects has one LMDB per category, with the plain name of the category."""
    match = _NAME.fullmatch(name)
    return (match[1], match[2]) if match else (name, "train")


def _find(category: str, part: str, databases: list[Database], given: Path) -> Database:
    for database in databases:
        if (database.category, database.part) == (category, part):
            return database
    known = {*_SCENES, *(database.category for database in databases)}
    if category not in known:
        raise unknown_name("category of LSUN", category, known)
    raise DataError(
        f"'{given}' lacks {category}_{part}_lmdb/data.mdb of lsun, packed or not: fetch "
        f"{_ADDRESS}{category}_{part}_lmdb.zip"
    )


def _unpack(archive: Path, request: Request) -> Path:
    """A temporary folder with the LMDB of a zip. Raises `DataError`."""
    folder = request.folder()
    problem = f"'{archive}' cannot be read as a zip"
    with as_data_error(problem, "fetch it again"), zipfile.ZipFile(archive) as content:
        infos = [info for info in content.infolist() if info.filename.rpartition("/")[2] == _FILE]
        if len(infos) != 1:
            raise DataError(f"'{archive}' has {len(infos)} files {_FILE}, but LSUN's zips have one")
        needed, room = infos[0].file_size, shutil.disk_usage(folder).free
        most = max_unpacked_bytes(archive)
        if needed > min(room, most):
            raise DataError(
                f"'{archive}' unpacks to {needed:,} bytes, but next to DEST there is room for {room:,} "
                f"(at most {most:,} are allowed for a zip of this size): unpack it elsewhere and give "
                "that folder with --from"
            )
        with content.open(infos[0]) as stream, (folder / _FILE).open("wb") as plain:
            shutil.copyfileobj(stream, plain, 1 << 20)  # zipfile checks the announced size and the CRC
    return folder


def _lmdb() -> ModuleType:
    try:
        import lmdb
    except ImportError as error:
        raise DataError("LSUN needs the package that reads LMDB files: pip install 'kennel[lsun]'") from error
    return lmdb


def _open(lmdb: ModuleType, folder: Path, request: Request) -> Any:
    """A read transaction; it and its environment are closed with the request."""
    file = folder / _FILE
    try:
        environment = request.stack.enter_context(
            lmdb.open(str(folder), readonly=True, lock=False, create=False, readahead=False)
        )
        # The file is memory-mapped, and reading behind its end would crash the process.
        pages, page_bytes = environment.info()["last_pgno"] + 1, environment.stat()["psize"]
        if file.stat().st_size < pages * page_bytes:
            raise DataError(
                f"'{file}' has {file.stat().st_size:,} bytes instead of {pages * page_bytes:,}: it is cut "
                "off, fetch and unpack it again"
            )
        return request.stack.enter_context(environment.begin(buffers=True))
    except (lmdb.Error, OSError) as error:
        raise DataError(f"'{file}' cannot be read as an LMDB ({error}): fetch and unpack it again") from error
