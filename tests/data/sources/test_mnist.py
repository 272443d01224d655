"""MNIST and Fashion-MNIST as they lie on people's disks: idx, packed or not, and Kaggle's tables."""

import gzip
import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kennel.data.dataset import ImageDataset
from kennel.data.prepare.pipeline import prepare
from kennel.data.sources import mnist
from kennel.data.sources.catalog import KNOWN_SETS
from kennel.data.sources.options import PrepareOptions
from kennel.errors import DataError

Make = Callable[..., Path]
Files = dict[str, bytes]

RANDOM = np.random.default_rng(0)
IMAGES = {
    part: RANDOM.integers(0, 256, (count, 28, 28), dtype=np.uint8)
    for part, count in (("train", 30), ("test", 12))
}
LABELS = {part: np.arange(len(images), dtype=np.uint8) % 10 for part, images in IMAGES.items()}


def idx(array: np.ndarray) -> bytes:  # type: ignore[type-arg]
    sides = b"".join(int(side).to_bytes(4, "big") for side in array.shape)
    return bytes((0, 0, 8, array.ndim)) + sides + array.tobytes()


def four_files(dot: str = "-", packed: bool = False, below: str = "") -> Files:
    files = {}
    for part, name in (("train", "train"), ("test", "t10k")):
        files[f"{below}{name}-images{dot}idx3-ubyte"] = idx(IMAGES[part])
        files[f"{below}{name}-labels{dot}idx1-ubyte"] = idx(LABELS[part])
    return {f"{name}.gz": gzip.compress(content) for name, content in files.items()} if packed else files


def table(part: str, titles: bool = True) -> bytes:
    """As pandas writes it: titles, then a label and 784 numbers a line."""
    rows = np.column_stack((LABELS[part], IMAGES[part].reshape(-1, 784)))
    lines = [",".join(["label", *(f"pixel{number}" for number in range(1, 785))])] if titles else []
    return "\n".join([*lines, *(",".join(map(str, row)) for row in rows)]).encode() + b"\n"


def tables(name: str, titles: bool = True) -> Files:
    return {f"{name}_{part}.csv": table(part, titles) for part in ("train", "test")}


def right(packed: ImageDataset, part: str, name: str) -> None:
    np.testing.assert_array_equal(packed.images[:, 0], IMAGES[part])
    np.testing.assert_array_equal(packed.labels, LABELS[part])  # type: ignore[arg-type]
    assert packed.classes[0] == {"mnist": "0", "fashion_mnist": "T-shirt/top"}[name]


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("mnist", four_files()),  # unpacked
        ("mnist", four_files(".")),  # as Kaggle calls them
        ("mnist", four_files(".", packed=True)),
        ("mnist", four_files(below="MNIST/raw/")),  # as torchvision keeps them
        ("mnist", four_files(below="raw/")),
        ("mnist", tables("mnist")),
        ("mnist", tables("mnist", titles=False)),
        ("mnist", {**tables("mnist"), "fashion-mnist_train.csv": b"of another set"}),
        ("fashion_mnist", four_files()),
        ("fashion_mnist", four_files(below="FashionMNIST/raw/")),
        ("fashion_mnist", tables("fashion-mnist")),
        ("fashion_mnist", {**four_files(), **tables("fashion-mnist")}),  # Kaggle gives both
    ],
)
def test_a_set_is_read_as_it_lies_unpacked_and_zipped(
    tmp_path: Path, as_folder: Make, as_zip: Make, as_tar: Make, name: str, files: Files
) -> None:
    sources = [as_folder(files, "source")]
    if not any("/" in file for file in files):
        sources += [as_zip(files, "archive.zip"), as_tar(files, "all.tar.gz")]
        (tmp_path / "downloads").mkdir()
        sources.append(as_zip(files, "downloads/archive.zip").parent)
    for number, source in enumerate(sources):
        for part in ("train", "test"):
            options = PrepareOptions(split=part)
            packed = prepare(name, tmp_path / f"{part}{number}", options, from_folder=source)
            right(packed, part, name)
        both = prepare(name, tmp_path / f"all{number}", PrepareOptions(split="all"), from_folder=source)
        assert len(both) == 42
        assert not list(tmp_path.glob("tmp*"))


def test_a_table_or_an_idx_file_alone_stands_for_the_folder_that_it_lies_in(
    tmp_path: Path, as_folder: Make
) -> None:
    folder = as_folder({**tables("mnist"), "notes.txt": b""}, "tables")
    packed = prepare("mnist", tmp_path / "set", from_folder=folder / "mnist_train.csv")
    right(packed, "train", "mnist")
    assert [file["name"] for file in packed.about["provenance"]["files"]] == ["mnist_train.csv"]
    folder = as_folder(four_files(), "idx")
    right(prepare("mnist", tmp_path / "b", from_folder=folder / "train-images-idx3-ubyte"), "train", "mnist")


@pytest.mark.parametrize("given", ["train-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz", ""])
@pytest.mark.parametrize("beside", [{}, four_files()])
def test_packed_files_of_published_names_are_verified_and_read_before_unpacked_ones(
    tmp_path: Path, as_folder: Make, monkeypatch: pytest.MonkeyPatch, given: str, beside: Files
) -> None:
    files = four_files(packed=True)
    known = KNOWN_SETS["mnist"]
    md5s = {name: hashlib.md5(content, usedforsecurity=False).hexdigest() for name, content in files.items()}
    changed = replace(known, files=tuple(replace(file, md5=md5s[file.name]) for file in known.files))
    monkeypatch.setitem(KNOWN_SETS._entries, "mnist", changed)
    spoilt = {name: content[:16] + bytes(len(content) - 16) for name, content in beside.items()}
    folder = as_folder({**files, **spoilt}, "source")
    right(prepare("mnist", tmp_path / "set", from_folder=folder / given), "train", "mnist")
    name = given or "t10k-images-idx3-ubyte.gz"
    (folder / name).write_bytes(files[name] + b"\0")
    with pytest.raises(DataError, match=rf"is not the published {name}"):
        prepare("mnist", tmp_path / "no", from_folder=folder / given)


def test_a_packed_file_of_a_published_name_is_verified_beside_unpacked_ones_of_the_other_part(
    tmp_path: Path, as_folder: Make
) -> None:
    files = four_files()
    del files["train-images-idx3-ubyte"]
    files["train-images-idx3-ubyte.gz"] = gzip.compress(idx(IMAGES["train"]))
    with pytest.raises(DataError, match=r"not the published train-images-idx3-ubyte\.gz"):
        prepare("mnist", tmp_path / "set", from_folder=as_folder(files, "source"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is not a table of a label and 784 pixels"),
        (b"label,pixel1\n", "is not a table of a label and 784 pixels"),
        (b"label,pixel1\n1,2\n", "has 2 columns"),
        (table("train") + b"1,2,3\n", "is not a table"),
        (table("train").replace(b"\n0,", b"\n0.5,"), "is not a table"),
        (table("train", titles=False).replace(b",25", b",256,25", 1), "is not a table"),
        (table("train").replace(b"\n3,", b"\n-3,"), "is not a table"),
        (table("train").replace(b"\n3,", b"\nnan,"), "is not a table"),
        (table("train").replace(b"\n3,", b"\n11,"), "go up to 11, of 10 classes"),
        (b"\xff\xfe\x00" * 1000, "is not a table"),
        (gzip.compress(table("train")), "is not a table"),
    ],
)
def test_a_damaged_table_is_told_in_a_sentence(
    tmp_path: Path, as_folder: Make, content: bytes, words: str
) -> None:
    folder = as_folder({**tables("fashion-mnist"), "fashion-mnist_train.csv": content}, "source")
    with pytest.raises(DataError, match=words) as error:
        prepare("fashion_mnist", tmp_path / "set", from_folder=folder)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "set").exists()


def test_a_pixel_of_256_is_no_pixel(tmp_path: Path, as_folder: Make) -> None:
    row = ",".join(["1", *["256"] * 784]).encode()
    folder = as_folder({**tables("mnist"), "mnist_train.csv": row}, "source")
    with pytest.raises(DataError, match="pixels from 0 to 255"):
        prepare("mnist", tmp_path / "set", from_folder=folder)


def test_a_table_of_too_many_bytes_is_refused_unread(
    tmp_path: Path, as_folder: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mnist, "MAX_TABLE_BYTES", 1000)
    with pytest.raises(DataError, match="bytes, more than 1,000"):
        prepare("mnist", tmp_path / "set", from_folder=as_folder(tables("mnist"), "source"))


def test_a_table_as_the_source_is_answered_with_the_command(tmp_path: Path, as_folder: Make) -> None:
    folder = as_folder(tables("fashion-mnist"), "source")
    with pytest.raises(DataError, match=r"data prepare fashion_mnist DEST --from \S+_train\.csv$"):
        prepare(folder / "fashion-mnist_train.csv", tmp_path / "set")


def test_an_archive_of_something_else_is_told_what_it_should_hold(
    tmp_path: Path, as_zip: Make, as_folder: Make
) -> None:
    words = r"does not have the train files of mnist: .*mnist_train\.csv and mnist_test\.csv"
    with pytest.raises(DataError, match=words):
        prepare("mnist", tmp_path / "set", from_folder=as_zip({"a.txt": b"x"}))
    with pytest.raises(DataError, match=words):
        prepare("mnist", tmp_path / "set", from_folder=as_folder({"mnist_test.csv": table("test")}, "half"))


def test_stacked_mnist_is_three_digits_as_channels_and_its_class_is_the_triple(
    tmp_path: Path, as_folder: Make
) -> None:
    options = PrepareOptions(limit=50, seed=3)
    stacked = prepare("stacked_mnist", tmp_path / "set", options, from_folder=as_folder(four_files(), "idx"))
    assert stacked.images.shape == (50, 3, 28, 28)
    assert stacked.labels is not None
    single = {
        image.tobytes(): int(label) for image, label in zip(IMAGES["train"], LABELS["train"], strict=True)
    }
    for image, label in zip(stacked.images, stacked.labels, strict=True):
        digits = [single[np.ascontiguousarray(channel).tobytes()] for channel in image]
        assert stacked.classes[label] == "".join(map(str, digits))


def test_stacked_mnist_is_drawn_by_the_seed() -> None:
    first, same, other = (
        mnist.StackedCollection(IMAGES["train"], LABELS["train"], 100, seed) for seed in (0, 0, 1)
    )
    assert [first.label(index) for index in range(100)] == [same.label(index) for index in range(100)]
    assert [first.label(index) for index in range(100)] != [other.label(index) for index in range(100)]
    assert len(first) == 100
