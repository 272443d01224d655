"""LSUN as it is published: an LMDB for each category, the bytes of an image file under each key.

Yu et al. 2015 (arXiv 1506.03365). A category has up to millions of images, so only their keys are held, in
one block of bytes; nothing is locked or written, and the folder may be read-only. An LMDB in a zip, as it is
published, is unpacked beside DEST for as long as the run takes: it can only be read as a file of its own.
"""

import re
import shutil
import threading
import zipfile
from array import array
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from kennel.data.sources.annotations import Annotation
from kennel.data.sources.compact_index import CompactStrings
from kennel.data.sources.containers import UNPACKED_FREELY, UNPACKED_TIMES
from kennel.data.sources.decode import MAX_FILE_BYTES
from kennel.data.sources.index import Encoded, Refusal, printable
from kennel.data.sources.openers import Opened, Request
from kennel.errors import DataError
from kennel.registry import unknown_name

_PARTS = {"train": ("train",), "test": ("val",), "all": ("train", "val")}
_NAME = re.compile(r"(.+)_(train|val)_lmdb")
_FILE = "data.mdb"
_ADDRESS = "http://dl.yf.io/lsun/scenes/"
_SCENES = (
    *("bedroom", "bridge", "church_outdoor", "classroom", "conference_room"),
    *("dining_room", "kitchen", "living_room", "restaurant", "tower"),
)


class Database(NamedTuple):
    """The LMDB of one category and part."""

    category: str
    part: str
    folder: Path
    archive: Path | None = None
    """The zip that holds it, where it is not unpacked."""

    def opened(self, request: Request) -> "Database":
        """The same, unpacked where it was not."""
        return self if self.archive is None else self._replace(folder=_unpacked(self.archive, request))

    def source(self) -> tuple[str, Path]:
        """The file that it comes from, and what it is recorded as."""
        if self.archive is not None:
            return self.archive.name, self.archive
        return f"{self.folder.name}/{_FILE}", self.folder / _FILE


def open_lsun(request: Request) -> Opened:
    """The categories that `--category` names, or all that are at hand; several of them are classes."""
    given, options = request.files[0], request.options
    databases = _databases(given)
    parts = _PARTS[options.part]
    chosen = [database for database in databases if database.part in parts and not options.category]
    for category in sorted(options.category):
        chosen += [_find(category, part, databases, given) for part in parts]
    if not chosen:
        raise DataError(_nothing(given))
    lmdb = _lmdb()
    opened = [database.opened(request) for database in chosen]
    collection = LmdbCollection(
        [(database.category, _open(lmdb, database.folder, request)) for database in opened]
    )
    collection.notes = [
        f"'{database.archive}' was unpacked for the time of the run, "
        f"{(database.folder / _FILE).stat().st_size:,} bytes"
        for database in opened
        if database.archive is not None
    ]
    return Opened(collection, dict(database.source() for database in chosen))


class LmdbCollection(Encoded):
    """The image files in some LMDBs: by category, then in the order of their keys."""

    refusals: Sequence[Refusal] = ()
    notes: Sequence[str] = ()
    ignored = CompactStrings()
    annotations_only = False
    has_annotations = False

    def __init__(self, databases: Sequence[tuple[str, Any]]) -> None:
        """`databases`: each category, sorted, with a transaction that gives buffers."""
        names = tuple(dict.fromkeys(category for category, _ in databases))
        self.classes = names if len(names) > 1 else ()
        self._of_class = [names.index(category) for category, _ in databases]
        self._transactions = [transaction for _, transaction in databases]
        self._lock = threading.Lock()
        self._keys = bytearray()
        self._ends = array("q", [0])
        self._first = [0]
        for transaction in self._transactions:
            with transaction.cursor() as cursor:
                for key in cursor.iternext(keys=True, values=False):
                    self._keys += key
                    self._ends.append(len(self._keys))
            self._first.append(len(self._ends) - 1)

    def __len__(self) -> int:
        return len(self._ends) - 1

    def name(self, index: int) -> str:
        """The key, after its category where there are several."""
        key = printable(self._key(index).decode("utf-8", "backslashreplace"))
        return f"{self.classes[self.label(index)]}/{key}" if self.classes else key

    def label(self, index: int) -> int:
        """The category's number, -1 where there is only one."""
        return self._of_class[self._database(index)] if self.classes else -1

    def annotation(self, index: int) -> Annotation | None:
        """None."""
        return None

    def read(self, index: int) -> bytes:
        """The value under the key. Raises `DataError` where the LMDB cannot give it."""
        with self._lock:  # a transaction is for one thread at a time
            try:
                value = self._transactions[self._database(index)].get(self._key(index))
            except Exception as error:  # lmdb has an exception for each of its many troubles
                raise DataError(f"it cannot be read from the LMDB ({error})") from error
            if value is None:
                raise DataError("the LMDB lists it and does not have it")
            if len(value) > MAX_FILE_BYTES:
                raise DataError(f"it has {len(value):,} bytes, more than {MAX_FILE_BYTES:,}")
            return bytes(value)

    def _key(self, index: int) -> bytes:
        return bytes(self._keys[self._ends[index] : self._ends[index + 1]])

    def _database(self, index: int) -> int:
        return next(number for number, end in enumerate(self._first[1:]) if index < end)


def _databases(given: Path) -> list[Database]:
    """The LMDBs in the folder, or the one that the folder or the zip is; of one that is there twice the
    unpacked one."""
    if given.is_file():
        return [Database(*_named(given.stem), given.parent, given)]
    folders = [given] if (given / _FILE).is_file() else sorted(given.iterdir())
    found: dict[tuple[str, str], Database] = {}
    for path in folders:
        if path.is_file() and path.suffix == ".zip" and _NAME.fullmatch(path.stem):
            found.setdefault(_named(path.stem), Database(*_named(path.stem), path.parent, path))
        elif (path / _FILE).is_file():
            named = _named(path.resolve().name)
            found[named] = Database(*named, path)
    return sorted(found.values(), key=lambda database: database[:2])


def _named(name: str) -> tuple[str, str]:
    """Category and part. The LSUN of objects has one LMDB for each category, of its plain name."""
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


def _unpacked(archive: Path, request: Request) -> Path:
    """A folder that holds the LMDB of a zip until the run ends.

    Raises `DataError` where there is none in it, it is damaged, or there is no room for it.
    """
    folder = request.folder()
    try:
        with zipfile.ZipFile(archive) as dataset:
            infos = [info for info in dataset.infolist() if info.filename.rpartition("/")[2] == _FILE]
            if len(infos) != 1:
                raise DataError(f"'{archive}' holds {len(infos)} files {_FILE}, and LSUN's zips one each")
            needed, room = infos[0].file_size, shutil.disk_usage(folder).free
            most = max(UNPACKED_FREELY, UNPACKED_TIMES * archive.stat().st_size)
            if needed > min(room, most):
                raise DataError(
                    f"'{archive}' unpacks to {needed:,} bytes, and beside DEST there is room for {room:,} "
                    f"(at most {most:,} are taken from a zip of this size): unpack it elsewhere and give "
                    "that folder with --from"
                )
            with dataset.open(infos[0]) as stream, (folder / _FILE).open("wb") as plain:
                shutil.copyfileobj(stream, plain, 1 << 20)  # no more than announced, and the CRC is checked
    except DataError:
        raise
    except Exception as error:  # a hostile directory makes zipfile raise nearly anything
        reason = printable(str(error) or type(error).__name__)[:120]
        raise DataError(f"'{archive}' cannot be read as a zip ({reason}): fetch it again") from error
    return folder


def _nothing(given: Path) -> str:
    return (
        f"'{given}' holds no LMDB: give a folder that holds church_outdoor_train_lmdb.zip or the like from "
        f"{_ADDRESS}church_outdoor_train_lmdb.zip, or what it unpacks to"
    )


def _lmdb() -> ModuleType:
    try:
        import lmdb
    except ImportError as error:
        raise DataError(
            "LSUN lies in LMDB files, and the package that reads them is missing: pip install 'kennel[lsun]'"
        ) from error
    return lmdb


def _open(lmdb: ModuleType, folder: Path, request: Request) -> Any:
    """A transaction that reads the LMDB; it and its environment are closed with the request."""
    file = folder / _FILE
    try:
        environment = request.stack.enter_context(
            lmdb.open(str(folder), readonly=True, lock=False, create=False, readahead=False)
        )
        # The file is mapped into memory, and to read behind its end would end the process.
        pages, page_bytes = environment.info()["last_pgno"] + 1, environment.stat()["psize"]
        if file.stat().st_size < pages * page_bytes:
            raise DataError(
                f"'{file}' has {file.stat().st_size:,} bytes and should have {pages * page_bytes:,}: it is "
                "cut off, fetch and unpack it again"
            )
        return request.stack.enter_context(environment.begin(buffers=True))
    except (lmdb.Error, OSError) as error:
        raise DataError(f"'{file}' cannot be read as an LMDB ({error}): fetch and unpack it again") from error
