"""CIFAR-10 on small files of its published formats: six binary files, or six pickles, in a tar."""

import hashlib
import pickle
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kennel.data.dataset import ImageDataset
from kennel.data.prepare.pipeline import prepare
from kennel.data.sources.catalog import KNOWN_SETS
from kennel.data.sources.cifar import CIFAR10_CLASSES
from kennel.data.sources.options import PrepareOptions
from kennel.errors import DataError

Make = Callable[..., Path]
Files = dict[str, bytes]

PARTS = (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch")
PIXELS = np.random.default_rng(0).integers(0, 256, (6, 4, 3072), dtype=np.uint8)
LABELS = np.random.default_rng(1).integers(0, 10, (6, 4), dtype=np.uint8)
BINARY = {
    f"cifar-10-batches-bin/{part}.bin": np.column_stack((labels, pixels)).tobytes()
    for part, pixels, labels in zip(PARTS, PIXELS, LABELS, strict=True)
} | {"cifar-10-batches-bin/readme.html": b"<html>"}


def pickled(protocol: int = 2) -> Files:
    return {
        f"cifar-10-batches-py/{part}": pickle.dumps(
            {
                b"batch_label": part.encode(),
                b"labels": [int(label) for label in labels],
                b"data": pixels,
                b"filenames": [b"%d.png" % number for number in range(4)],
            },
            protocol,
        )
        for part, pixels, labels in zip(PARTS, PIXELS, LABELS, strict=True)
    } | {"cifar-10-batches-py/batches.meta": b"\x80\x02}."}


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch, as_tar: Make, tmp_path: Path) -> Path:
    """A folder with both archives; their checksums are taken for the published ones."""
    (tmp_path / "cifar").mkdir()
    archives = [
        as_tar(BINARY, "cifar/cifar-10-binary.tar.gz"),
        as_tar(pickled(), "cifar/cifar-10-python.tar.gz"),
    ]
    md5s = [hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() for path in archives]
    known = KNOWN_SETS["cifar10"]
    changed = replace(
        known,
        files=(replace(known.files[0], md5=md5s[0]),),
        other_files=(replace(known.other_files[0], md5=md5s[1]),),
    )
    monkeypatch.setitem(KNOWN_SETS._entries, "cifar10", changed)
    return tmp_path / "cifar"


def right(packed: ImageDataset, parts: slice = slice(0, 5)) -> None:
    np.testing.assert_array_equal(packed.images.reshape(-1, 3072), PIXELS[parts].reshape(-1, 3072))
    assert packed.labels is not None
    kept = [packed.classes[label] for label in packed.labels]
    assert kept == [CIFAR10_CLASSES[label] for label in LABELS[parts].ravel()]


def cifar(source: Path, tmp_path: Path, split: str = "train", name: str = "set") -> ImageDataset:
    # The order of a packed set is that of its classes; here each image keeps its number.
    return prepare(
        "cifar10", tmp_path / name, PrepareOptions(split=split), from_folder=source, overwrite=True
    )


@pytest.mark.parametrize("version", ["binary", "python"])
def test_an_archive_alone_its_folder_and_what_it_unpacks_to_are_the_same_set(
    published: Path, tmp_path: Path, as_folder: Make, as_zip: Make, version: str
) -> None:
    files = BINARY if version == "binary" else pickled()
    archive = published / f"cifar-10-{version}.tar.gz"
    unpacked = as_folder(files, "unpacked")
    inside = unpacked / next(iter(files)).partition("/")[0]
    sources = [archive, unpacked, inside, as_zip(files, "archive.zip")]
    (tmp_path / "alone").mkdir()
    archive.rename(tmp_path / "alone" / archive.name)
    sources = [tmp_path / "alone" / archive.name, tmp_path / "alone", *sources[1:]]
    sets = [cifar(source, tmp_path, name=f"s{number}") for number, source in enumerate(sources)]
    for packed in sets:
        right(packed)
    assert len({packed.fingerprint for packed in sets}) == 1
    recorded = [[file["name"] for file in packed.about["provenance"]["files"]] for packed in sets]
    assert recorded == [[archive.name], [archive.name], [], [], ["archive.zip"]]
    right(cifar(sources[0], tmp_path, "test", "test"), slice(5, 6))
    right(cifar(sources[0], tmp_path, "all", "all"), slice(0, 6))


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4])
def test_pickles_that_were_written_again_are_read(tmp_path: Path, as_folder: Make, protocol: int) -> None:
    right(cifar(as_folder(pickled(protocol), "again"), tmp_path))


def test_both_versions_beside_one_another_are_read_from_the_binary_one(
    tmp_path: Path, as_folder: Make
) -> None:
    right(cifar(as_folder({**BINARY, "cifar-10-batches-py/data_batch_1": b"damaged"}, "both"), tmp_path))


@pytest.mark.parametrize("version", ["binary", "python"])
@pytest.mark.parametrize("given", ["the file", "its folder"])
def test_an_archive_of_a_published_name_is_verified_however_it_is_given(
    published: Path, tmp_path: Path, version: str, given: str
) -> None:
    for archive in published.iterdir():
        if version not in archive.name:
            archive.unlink()
    archive = published / f"cifar-10-{version}.tar.gz"
    archive.write_bytes(archive.read_bytes() + b"\0")
    with pytest.raises(DataError, match=rf"is not the published cifar-10-{version}\.tar\.gz \(its md5 is"):
        cifar(archive if given == "the file" else published, tmp_path)
    assert not (tmp_path / "set").exists()


def test_its_archive_or_folder_as_the_source_is_answered_with_the_command(
    published: Path, tmp_path: Path, as_folder: Make
) -> None:
    unpacked = as_folder(pickled(), "my sets") / "cifar-10-batches-py"
    for source in (*published.iterdir(), unpacked, as_folder(BINARY) / "cifar-10-batches-bin"):
        with pytest.raises(DataError, match="belongs to cifar10: kennel data prepare cifar10 DEST") as error:
            prepare(source, tmp_path / "no")
        given = shlex.split(str(error.value).rpartition(": ")[2])[-1]
        right(cifar(Path(given), tmp_path))


def test_the_published_checksums_are_those_of_its_page() -> None:
    known = KNOWN_SETS["cifar10"]
    assert {file.name: file.md5 for file in (*known.files, *known.other_files)} == {
        "cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530",
        "cifar-10-python.tar.gz": "c58f30108f718f92721af3b95e74349a",
    }


class Program:
    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> object:
        return open, (str(self.trace), "w")


def test_a_program_in_the_archive_is_refused_and_not_executed(
    tmp_path: Path, as_folder: Make, as_tar: Make
) -> None:
    trace = tmp_path / "trace"
    for wrote in (Program(trace), {b"data": PIXELS[0], b"labels": [1, 2, 3, 4], b"more": Program(trace)}):
        files = {**pickled(), "cifar-10-batches-py/data_batch_3": pickle.dumps(wrote, 2)}
        for source in (as_folder(files, "unpacked"), as_tar(files, "mine.tar.gz")):
            with pytest.raises(DataError, match=r"data_batch_3 in .*it uses \S+\.open"):
                cifar(source, tmp_path)
    assert not trace.exists()
    assert not (tmp_path / "set").exists()


def wrote(**changes: object) -> bytes:
    return pickle.dumps({"data": PIXELS[0], "labels": [1, 2, 3, 4], **changes}, 2)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("cifar-10-batches-bin/data_batch_2.bin", b"", "not complete records"),
        ("cifar-10-batches-bin/data_batch_2.bin", bytes(3074), "not complete records"),
        ("cifar-10-batches-bin/data_batch_2.bin", b"\x0a" + bytes(3072), "labels above 9"),
        ("cifar-10-batches-py/data_batch_2", b"", "damaged or not a pickle"),
        ("cifar-10-batches-py/data_batch_2", wrote()[:-500], "damaged or not a pickle"),
        ("cifar-10-batches-py/data_batch_2", wrote(labels=[1, 2, 3]), "labels are not a number"),
        ("cifar-10-batches-py/data_batch_2", wrote(labels=[1, 2, 3, 10]), "labels are not a number"),
        ("cifar-10-batches-py/data_batch_2", wrote(labels=[1, 2, 3, -1]), "labels are not a number"),
        ("cifar-10-batches-py/data_batch_2", wrote(labels=[1, 2, 3, True]), "labels are not a number"),
        ("cifar-10-batches-py/data_batch_2", wrote(data=PIXELS[0][:, :3000]), "not images of 3,072 bytes"),
        ("cifar-10-batches-py/data_batch_2", wrote(data=b"bytes"), "not images of 3,072 bytes"),
        ("cifar-10-batches-py/data_batch_2", wrote(data=PIXELS[0].astype(float)), "unsigned bytes"),
    ],
)
def test_a_damaged_part_is_named_and_nothing_is_written(
    tmp_path: Path, as_folder: Make, name: str, content: bytes, words: str
) -> None:
    files = BINARY if "bin/" in name else pickled()
    with pytest.raises(DataError, match=words):
        cifar(as_folder({**files, name: content}, "source"), tmp_path)
    assert not (tmp_path / "set").exists()


def test_a_part_that_is_missing_is_told_with_the_archives_that_have_it(
    tmp_path: Path, as_folder: Make
) -> None:
    files = {name: content for name, content in pickled().items() if not name.endswith("batch_4")}
    with pytest.raises(DataError, match=r"nor data_batch_4 of cifar-10-python\.tar\.gz"):
        cifar(as_folder(files, "source"), tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"lacks cifar-10-binary\.tar\.gz of cifar10: fetch it from https"):
        cifar(tmp_path / "empty", tmp_path)
