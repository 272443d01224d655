"""LSUN on small LMDBs of the published format: SHA-1 keys, WebP values."""

import hashlib
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import lmdb
import numpy as np
import pytest

from kennel.data.dataset import ImageDataset
from kennel.data.prepare.pipeline import dry_run, prepare
from kennel.data.sources.decode import decode
from kennel.data.sources.options import PrepareOptions
from kennel.errors import DataError, UnknownNameError

Picture = Callable[..., bytes]
Write = Callable[..., dict[str, bytes]]


def key(seed: int) -> str:
    return hashlib.sha1(str(seed).encode(), usedforsecurity=False).hexdigest()


def write_lmdb(folder: Path, values: dict[str, bytes]) -> None:
    folder.mkdir(parents=True)
    with lmdb.open(str(folder), map_size=1 << 24) as environment, environment.begin(write=True) as writing:
        for name, value in values.items():
            writing.put(name.encode(), value)


@pytest.fixture
def write(tmp_path: Path, picture: Picture) -> Write:
    """`write(name, seeds)`: the LMDB lsun/<name> with a picture for each seed; returns its values."""

    def make(name: str, seeds: range, **more: bytes) -> dict[str, bytes]:
        values = {key(seed): picture(seed, 40, 30, "WEBP") for seed in seeds} | more
        write_lmdb(tmp_path / "lsun" / name, values)
        return values

    return make


def names(packed: ImageDataset) -> list[str]:
    return (packed.path / "names.txt").read_text().splitlines()


def test_one_category_is_packed_in_the_order_of_its_keys_and_has_no_classes(
    tmp_path: Path, write: Write
) -> None:
    values = write("church_outdoor_train_lmdb", range(40))
    write("bridge_train_lmdb", range(40, 45))
    options = PrepareOptions(category=("church_outdoor",), size=40, fit="pad")
    packed = prepare("lsun", tmp_path / "set", options, from_folder=tmp_path / "lsun")
    assert names(packed) == sorted(values)
    assert (packed.classes, packed.labels) == ((), None)
    for row, name in enumerate(sorted(values)):
        pixels = np.asarray(decode(values[name])).transpose(2, 0, 1)
        assert np.array_equal(packed.images[row][:, 5:35], pixels)
    provenance = packed.about["provenance"]
    assert provenance["options"]["category"] == ["church_outdoor"]
    data = tmp_path / "lsun" / "church_outdoor_train_lmdb" / "data.mdb"
    digest = hashlib.sha256(data.read_bytes()).hexdigest()
    assert provenance["files"] == [{"name": "church_outdoor_train_lmdb/data.mdb", "sha256": digest}]
    alone = prepare("lsun", tmp_path / "alone", PrepareOptions(size=40, fit="pad"), from_folder=data.parent)
    assert alone.fingerprint == packed.fingerprint


def test_several_categories_are_classes_whatever_the_order_and_the_number_of_threads(
    tmp_path: Path, write: Write
) -> None:
    churches, bridges = (
        write("church_outdoor_train_lmdb", range(30)),
        write("bridge_train_lmdb", range(30, 70)),
    )
    choices = [("church_outdoor", "bridge"), ("bridge", "church_outdoor"), ()]
    sets = [
        prepare(
            "lsun",
            tmp_path / f"set{workers}",
            PrepareOptions(size=8, category=category, workers=workers),
            from_folder=tmp_path / "lsun",
        )
        for workers, category in enumerate(choices, start=1)
    ]
    assert len({packed.fingerprint for packed in sets}) == 1
    assert sets[0].classes == ("bridge", "church_outdoor")
    assert sets[0].labels is not None
    assert sets[0].labels.tolist() == [0] * 40 + [1] * 30
    expected = [f"bridge/{name}" for name in sorted(bridges)] + [
        f"church_outdoor/{name}" for name in sorted(churches)
    ]
    assert names(sets[0]) == expected


def test_the_split_for_testing_is_what_is_published_for_validation(tmp_path: Path, write: Write) -> None:
    write("bridge_train_lmdb", range(10))
    write("bridge_val_lmdb", range(10, 13))
    for split, count in (("train", 10), ("test", 3), ("all", 13)):
        options = PrepareOptions(split=split, size=8, category=("bridge",))
        packed = prepare("lsun", tmp_path / split, options, from_folder=tmp_path / "lsun")
        assert (len(packed), packed.classes) == (count, ())


def test_the_folder_is_only_read(tmp_path: Path, write: Write) -> None:
    write("bridge_train_lmdb", range(10))
    folder = tmp_path / "lsun" / "bridge_train_lmdb"
    (folder / "lock.mdb").unlink()
    before = hashlib.sha256((folder / "data.mdb").read_bytes()).digest()
    (folder / "data.mdb").chmod(0o444)
    folder.chmod(0o555)
    try:
        assert len(prepare("lsun", tmp_path / "set", from_folder=tmp_path / "lsun")) == 10
        assert [file.name for file in folder.iterdir()] == ["data.mdb"]
        assert hashlib.sha256((folder / "data.mdb").read_bytes()).digest() == before
    finally:
        folder.chmod(0o755)


def test_a_corrupt_image_is_dropped_with_its_reason(tmp_path: Path, write: Write, picture: Picture) -> None:
    write(
        "bridge_train_lmdb", range(30), **{"0" * 40: b"no image", "f" * 40: picture(90, 40, 30, "WEBP")[:90]}
    )
    options = PrepareOptions(max_bad=0.1)
    packed = prepare("lsun", tmp_path / "set", options, from_folder=tmp_path / "lsun")
    assert packed.about["report"]["dropped"] == {"broken": 2}
    assert {entry["name"] for entry in packed.about["report"]["examples"]["broken"]} == {"0" * 40, "f" * 40}
    excluding = PrepareOptions(exclude=("0" * 40, "f" * 40), limit=7)
    assert dry_run("lsun", excluding, from_folder=tmp_path / "lsun")["kept"] == 7


def test_an_lmdb_that_is_cut_off_is_refused_before_it_is_read(tmp_path: Path, write: Write) -> None:
    write("bridge_train_lmdb", range(60))
    file = tmp_path / "lsun" / "bridge_train_lmdb" / "data.mdb"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 8192 * 4096])
    with pytest.raises(DataError, match="it is cut off, fetch and unpack it again"):
        prepare("lsun", tmp_path / "set", from_folder=tmp_path / "lsun")
    file.write_bytes(b"this is no LMDB" * 1000)
    with pytest.raises(DataError, match="cannot be read as an LMDB"):
        prepare("lsun", tmp_path / "set", from_folder=tmp_path / "lsun")
    assert not (tmp_path / "set").exists()


def test_a_zip_is_read_as_what_it_unpacks_to_and_nothing_of_it_is_left(tmp_path: Path, write: Write) -> None:
    write("bridge_train_lmdb", range(5))
    write("church_outdoor_train_lmdb", range(5, 9))
    zips = tmp_path / "zips"
    for name in ("bridge_train_lmdb", "church_outdoor_train_lmdb"):
        shutil.make_archive(str(zips / name), "zip", tmp_path / "lsun", name)
    both = prepare("lsun", tmp_path / "both", from_folder=tmp_path / "lsun")
    packed = prepare("lsun", tmp_path / "packed", from_folder=zips)
    assert (packed.fingerprint, packed.classes) == (both.fingerprint, ("bridge", "church_outdoor"))
    files = [file["name"] for file in packed.about["provenance"]["files"]]
    assert files == ["bridge_train_lmdb.zip", "church_outdoor_train_lmdb.zip"]
    assert "was unpacked temporarily" in packed.about["report"]["notes"][0]
    one = prepare("lsun", tmp_path / "one", from_folder=zips / "bridge_train_lmdb.zip")
    assert (len(one), one.classes) == (5, ())
    chosen = PrepareOptions(category=("church_outdoor",))
    assert len(prepare("lsun", tmp_path / "chosen", chosen, from_folder=zips)) == 4
    assert dry_run("lsun", from_folder=zips)["kept"] == 9
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("both", "chosen", "lsun", "one", "packed", "zips"),
    ]


def test_a_zip_that_is_unpacked_beside_it_is_not_read(tmp_path: Path, write: Write) -> None:
    write("bridge_train_lmdb", range(5))
    (tmp_path / "lsun" / "bridge_train_lmdb.zip").write_bytes(b"damaged")
    packed = prepare("lsun", tmp_path / "set", PrepareOptions(size=8), from_folder=tmp_path / "lsun")
    assert len(packed) == 5
    assert packed.about["report"]["notes"] == []


def test_a_zip_that_is_damaged_too_large_or_of_something_else_is_told_in_a_sentence(
    tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("bridge_train_lmdb", range(3))
    archive = Path(shutil.make_archive(str(tmp_path / "bridge_train_lmdb"), "zip", tmp_path / "lsun"))
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 100))  # type: ignore[attr-defined]
        with pytest.raises(DataError, match=r"there is room for 100 .*unpack it elsewhere"):
            prepare("lsun", tmp_path / "set", from_folder=archive)
    content = archive.read_bytes()
    for spoilt, words in (
        (content[: len(content) // 2], "cannot be read as a zip"),
        (b"", "cannot be read as a zip"),
    ):
        archive.write_bytes(spoilt)
        with pytest.raises(DataError, match=words):
            prepare("lsun", tmp_path / "set", from_folder=archive)
    with zipfile.ZipFile(archive, "w") as other:
        other.writestr("a.txt", b"something else")
    with pytest.raises(DataError, match=r"has 0 files data\.mdb"):
        prepare("lsun", tmp_path / "set", from_folder=archive)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bridge_train_lmdb.zip", "lsun"]


def test_a_category_that_is_absent_is_told_with_its_address_and_an_unknown_one_with_the_nearest(
    tmp_path: Path, write: Write
) -> None:
    write("bridge_train_lmdb", range(3))
    absent = PrepareOptions(category=("bridge", "tower"))
    with pytest.raises(
        DataError, match=r"lacks tower_train_lmdb/data.mdb .*http://dl.yf.io/lsun/scenes/tower_t"
    ):
        prepare("lsun", tmp_path / "set", absent, from_folder=tmp_path / "lsun")
    unknown = PrepareOptions(category=("church",))
    with pytest.raises(UnknownNameError, match="did you mean 'church_outdoor'"):
        prepare("lsun", tmp_path / "set", unknown, from_folder=tmp_path / "lsun")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="has no LMDB"):
        prepare("lsun", tmp_path / "set", from_folder=tmp_path / "empty")


def test_without_the_package_the_way_to_it_is_told(
    tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("bridge_train_lmdb", range(3))
    monkeypatch.setitem(sys.modules, "lmdb", None)
    with pytest.raises(DataError, match=r"pip install 'kennel\[lsun\]'"):
        prepare("lsun", tmp_path / "set", from_folder=tmp_path / "lsun")


@pytest.mark.slow
def test_two_hundred_thousand_keys_are_held_in_a_few_bytes_each(tmp_path: Path) -> None:
    """bridge has 818,687 images: their keys must not become as many Python objects."""
    import tracemalloc

    from kennel.data.sources.lsun import LmdbCollection

    folder, count = tmp_path / "large", 200_000
    folder.mkdir()
    with lmdb.open(str(folder), map_size=1 << 28, sync=False) as environment:
        with environment.begin(write=True) as writing, writing.cursor() as cursor:
            cursor.putmulti([(b"%040d" % number, b"x") for number in range(count)], append=True)
        with environment.begin(buffers=True) as reading:
            tracemalloc.start()
            try:
                collection = LmdbCollection([("bridge", reading)])
                held, _ = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            assert len(collection) == count
            assert collection.name(count - 1) == f"{count - 1:040d}"
            assert held / count < 60
