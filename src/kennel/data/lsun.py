"""LSUN as it is published: an LMDB for each category, the bytes of an image file under each key.

Yu et al. 2015 (arXiv 1506.03365). A category has up to millions of images, so only their keys are held, in
one block of bytes; nothing is locked or written, and the folder may be read-only.
"""

import re
import threading
from array import array
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from kennel.data.annotations import Annotation
from kennel.data.collection import Encoded, Refusal, printable
from kennel.data.columns import Names
from kennel.data.decoding import MAX_FILE_BYTES
from kennel.data.opening import Opened, Request
from kennel.errors import DataError
from kennel.registry import unknown_name

_PARTS = {"train": ("train",), "test": ("val",), "all": ("train", "val")}
_NAME = re.compile(r"(.+)_(train|val)_lmdb")
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


def open_lsun(request: Request) -> Opened:
    """The categories that `--category` names, or all that are at hand; several of them are classes."""
    given, options = request.files[0], request.options
    if given.is_file():
        raise DataError(_unpack(given))
    databases = _databases(given)
    parts = _PARTS[options.part]
    chosen = [database for database in databases if database.part in parts and not options.category]
    for category in sorted(options.category):
        chosen += [_find(category, part, databases, given) for part in parts]
    if not chosen:
        raise DataError(_nothing(given))
    lmdb = _lmdb()
    collection = LmdbCollection(
        [(database.category, _open(lmdb, database.folder, request)) for database in chosen]
    )
    return Opened(
        collection, {f"{database.folder.name}/data.mdb": database.folder / "data.mdb" for database in chosen}
    )


class LmdbCollection(Encoded):
    """The image files in some LMDBs: by category, then in the order of their keys."""

    refusals: Sequence[Refusal] = ()
    notes: Sequence[str] = ()
    ignored = Names()
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
    """The LMDBs in the folder, or the one that the folder is."""
    folders = [given] if (given / "data.mdb").is_file() else sorted(given.iterdir())
    found = []
    for folder in folders:
        if (folder / "data.mdb").is_file():
            match = _NAME.fullmatch(folder.resolve().name)
            # The LSUN of objects has one LMDB for each category, in a folder of its plain name.
            category, part = (match[1], match[2]) if match else (folder.resolve().name, "train")
            found.append(Database(category, part, folder))
    return sorted(found)


def _find(category: str, part: str, databases: list[Database], given: Path) -> Database:
    for database in databases:
        if (database.category, database.part) == (category, part):
            return database
    file = f"{category}_{part}_lmdb.zip"
    for place in (given, given.parent):
        if (place / file).is_file():
            raise DataError(_unpack(place / file))
    known = {*_SCENES, *(database.category for database in databases)}
    if category not in known:
        raise unknown_name("category of LSUN", category, known)
    raise DataError(
        f"'{given}' lacks {category}_{part}_lmdb/data.mdb of lsun: fetch {_ADDRESS}{file} and unpack it"
    )


def _unpack(archive: Path) -> str:
    return (
        f"'{archive}' is packed, and an LMDB can only be read as a file of its own: unpack it (unzip "
        f"'{archive.name}') and give the folder it is unpacked in with --from"
    )


def _nothing(given: Path) -> str:
    archives = sorted(given.glob("*_lmdb.zip"))
    if archives:
        return _unpack(archives[0])
    return (
        f"'{given}' holds no LMDB: give a folder that holds church_outdoor_train_lmdb/data.mdb or the like, "
        f"unpacked from {_ADDRESS}church_outdoor_train_lmdb.zip"
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
    file = folder / "data.mdb"
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
