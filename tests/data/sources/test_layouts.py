"""Classes, labels and splits, as they lie on people's disks."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from kennel.data.dataset import ImageDataset
from kennel.data.prepare.pipeline import prepare
from kennel.data.sources.options import PrepareOptions
from kennel.errors import DataError

Picture = Callable[..., bytes]
Make = Callable[..., Path]

SMALL = PrepareOptions(size=16)


def labels_by_name(packed: ImageDataset) -> dict[str, str]:
    names = (packed.path / "names.txt").read_text("utf-8").splitlines()
    labels = packed.labels
    assert labels is not None
    return {name: packed.classes[label] for name, label in zip(names, labels, strict=True)}


def notes(packed: ImageDataset) -> str:
    return "\n".join(packed.about["report"]["notes"])


def drops(packed: ImageDataset) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in (packed.path / "dropped.jsonl").read_text("utf-8").splitlines():
        entry = json.loads(line)
        found.setdefault(entry["reason"], []).append(entry["name"])
    return found


def numbered(picture: Picture, pattern: str, count: int, first: int = 0) -> dict[str, bytes]:
    return {pattern.format(n): picture(first + n) for n in range(count)}


def test_a_loose_file_beside_class_folders_is_dropped_by_name_and_the_classes_stay(
    tmp_path: Path, picture: Picture, as_folder: Make
) -> None:
    files = numbered(picture, "cats/{}.png", 5) | numbered(picture, "dogs/{}.png", 5, 10)
    packed = prepare(as_folder(files | {"loose.png": picture(99)}), tmp_path / "set", SMALL)
    assert packed.classes == ("cats", "dogs")
    assert drops(packed) == {"unlabelled": ["loose.png"]}
    many = numbered(picture, "{}.png", 8, 50)
    mixed = prepare(as_folder(files | many, "mixed"), tmp_path / "mixed set", SMALL)
    assert mixed.classes == ()
    assert "8 of 18 images are not in a subfolder, such as " in notes(mixed)
    asked = PrepareOptions(size=16, labels="folders")
    assert len(prepare(tmp_path / "mixed", tmp_path / "asked", asked)) == 10


def test_stylegans_labels_are_the_classes_and_a_picture_without_one_is_named(
    tmp_path: Path, picture: Picture, as_zip: Make
) -> None:
    files = numbered(picture, "top/00000/img{:08d}.png", 12)
    labels: list[list[object]] = [[f"00000/img{n:08d}.png", (10, 2, 33)[n % 3]] for n in range(11)]
    about = json.dumps({"labels": labels})
    packed = prepare(as_zip(files | {"top/dataset.json": about.encode()}), tmp_path / "set", SMALL)
    assert packed.classes == ("2", "10", "33")
    assert labels_by_name(packed)["img00000004.png"] == "2"
    assert drops(packed) == {"unlabelled": ["img00000011.png"]}
    assert "the classes are those of top/dataset.json" in notes(packed)
    one_hot = json.dumps({"labels": {f"00000/img{n:08d}.png": [n % 2, 1 - n % 2] for n in range(12)}})
    hot = prepare(as_zip(files | {"top/dataset.json": one_hot.encode()}, "hot.zip"), tmp_path / "hot", SMALL)
    assert hot.classes == ("0", "1")


def test_labels_that_are_null_are_no_labels_and_the_folders_are_no_classes(
    tmp_path: Path, picture: Picture, as_zip: Make
) -> None:
    files = numbered(picture, "00000/{}.png", 3) | numbered(picture, "00001/{}.png", 3, 10)
    packed = prepare(as_zip(files | {"dataset.json": b'{"labels": null}'}), tmp_path / "set", SMALL)
    assert (packed.classes, len(packed)) == ((), 6)
    assert "dataset.json declares that there are no labels" in notes(packed)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{"labels": [', "it is not JSON"),
        (b"\xff\xfe", "it is not UTF-8"),
        (b'{"labels": [["a.png"]]}', "entry 0 of its labels is not a pair"),
        (b'{"labels": [["a.png", [0.5, 0.5]]]}', "not one-hot"),
        (b'{"labels": [["a.png", 0.5]]}', "a number with a fraction"),
        (b'{"labels": [["a.png", {}]]}', "a label is a mapping"),
        (b'{"labels": [["a.png", 1], ["a.png", 2]]}', "has two labels, 1 and 2"),
        (b'{"labels": ' + b"[" * 100_000, "nested"),
        (b'{"labels": [["a.png", 1e999]]}', "it is not JSON"),
        (b'{"labels": [["a.png", "' + b"x" * 300 + b'"]]}', "like a caption"),
        (b'{"labels": 5}', "no list"),
    ],
)
def test_a_file_of_labels_that_cannot_be_read_is_one_sentence(
    content: bytes, words: str, tmp_path: Path, picture: Picture, as_folder: Make
) -> None:
    folder = as_folder({"a.png": picture(1), "dataset.json": content})
    with pytest.raises(DataError, match=words) as refused:
        prepare(folder, tmp_path / "set", SMALL)
    assert "'dataset.json'" in str(refused.value)
    assert "--labels none" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert len(prepare(folder, tmp_path / "set", PrepareOptions(size=16, labels="none"))) == 1


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("metadata.csv", "file_name,text,label\na.png,one,cat\nsub/b.png,two,dog\n"),
        ("metadata.csv", "\ufefffile_name;label\r\na.png;cat\r\nsub/b.png;dog\r\n"),
        (
            "metadata.jsonl",
            '{"file_name": "a.png", "label": "cat"}\n\n{"label": "dog", "file_name": "sub/b.png"}\n',
        ),
    ],
)
def test_hugging_faces_metadata_gives_the_classes(
    name: str, content: str, tmp_path: Path, picture: Picture, as_folder: Make
) -> None:
    files = {"train/a.png": picture(1), "train/sub/b.png": picture(2), f"train/{name}": content.encode()}
    packed = prepare(as_folder(files | {"test/c.png": picture(3)}), tmp_path / "set", SMALL)
    assert labels_by_name(packed) == {"a.png": "cat", "sub/b.png": "dog"}


def test_a_table_of_captions_has_no_labels_and_a_note_says_so(
    tmp_path: Path, picture: Picture, as_folder: Make
) -> None:
    table = b'file_name,text\na/1.png,"a cat, asleep"\nb/2.png,a dog\n'
    files = {"a/1.png": picture(1), "b/2.png": picture(2), "metadata.csv": table}
    packed = prepare(as_folder(files), tmp_path / "set", SMALL)
    assert packed.classes == ("a", "b")
    assert "metadata.csv is not used: it has no labels" in notes(packed)


def test_a_table_under_another_name_is_pointed_to(tmp_path: Path, picture: Picture, as_folder: Make) -> None:
    folder = as_folder({"a.png": picture(1), "train.csv": b"id,breed\na,pug\n"})
    packed = prepare(folder, tmp_path / "set", SMALL)
    assert "1 .csv (--labels reads a table of names and labels)" in notes(packed)


@pytest.mark.parametrize(
    "table",
    [
        "id,breed\na,pug\nb,terrier\n",
        "a.png,pug\nb.png,terrier\n",
        "image_id\tage\tspecies\na\t3\tpug\nb\t4\tterrier\n",
        "photos/a.png pug\nphotos/b.png terrier\n",
    ],
)
def test_a_table_that_the_user_gives_finds_pictures_by_path_name_or_stem(
    table: str, tmp_path: Path, picture: Picture, as_folder: Make
) -> None:
    (tmp_path / "labels.csv").write_text(table)
    folder = as_folder({"photos/a.png": picture(1), "photos/b.png": picture(2), "photos/c.png": picture(3)})
    options = PrepareOptions(size=16, labels=str(tmp_path / "labels.csv"))
    packed = prepare(folder, tmp_path / "set", options)
    assert labels_by_name(packed) == {"a.png": "pug", "b.png": "terrier"}
    assert drops(packed) == {"unlabelled": ["c.png"]}


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("x.png,1\n", "names none of the images"),
        ("a,b,c\n1,2,3\n", "it has 3 columns"),
        ("", "it is empty"),
        ("file_name,x,label\na.png,1\n", "lacks a column"),
        ("file_name,text\na.png,words\n", "has no column of labels"),
    ],
)
def test_a_given_table_that_says_nothing_of_the_pictures_is_refused(
    table: str, words: str, tmp_path: Path, picture: Picture, as_folder: Make
) -> None:
    (tmp_path / "labels.csv").write_text(table)
    with pytest.raises(DataError, match=words):
        prepare(
            as_folder({"a.png": picture(1)}),
            tmp_path / "set",
            PrepareOptions(size=16, labels=str(tmp_path / "labels.csv")),
        )
    with pytest.raises(DataError, match=r"--labels is 'absent\.csv'"):
        prepare(tmp_path / "source", tmp_path / "set", PrepareOptions(labels="absent.csv"))


def test_a_name_that_several_pictures_have_gives_none_of_them_a_label(
    tmp_path: Path, picture: Picture, as_folder: Make
) -> None:
    (tmp_path / "labels.csv").write_text("1.png,x\na/2.png,y\nb/2.png,z\n")
    files = {f"{folder}/{n}.png": picture(10 * n + k) for k, folder in enumerate("ab") for n in (1, 2)}
    options = PrepareOptions(size=16, labels=str(tmp_path / "labels.csv"))
    packed = prepare(as_folder(files), tmp_path / "set", options)
    assert labels_by_name(packed) == {"a/2.png": "y", "b/2.png": "z"}
    assert "several images match" in packed.about["report"]["examples"]["unlabelled"][0]["detail"]


def test_webdatasets_labels_lie_in_a_file_for_each_picture(
    tmp_path: Path, picture: Picture, as_tar: Make
) -> None:
    files = {f"{n:05d}.png": picture(n) for n in range(4)}
    files |= {f"{n:05d}.cls": str(n % 2).encode() for n in range(4)} | {"00000.json": b"{}"}
    packed = prepare(as_tar(files), tmp_path / "set", SMALL)
    assert labels_by_name(packed) == {f"{n:05d}.png": str(n % 2) for n in range(4)}
    assert drops(packed) == {"not an image": ["00000.json"]}


@pytest.mark.parametrize(
    "layout", ["{split}/{name}/{n}.png", "{name}/{split}/{n}.png", "top/{split}/x/{name}/{n}.png"]
)
def test_folders_of_splits_are_told_apart_above_and_below_the_classes(
    layout: str, tmp_path: Path, picture: Picture, as_zip: Make
) -> None:
    files = {
        layout.format(split=split, name=name, n=n): picture(100 * s + 10 * k + n)
        for s, split in enumerate(("Training", "Testing"))
        for k, name in enumerate("01")
        for n in range(3)
    }
    source = as_zip(files)
    packed = prepare(source, tmp_path / "set", SMALL)
    assert (packed.classes, len(packed)) == (("0", "1"), 6)
    assert "folders of splits: Testing (6), Training (6); used: Training" in notes(packed)
    assert sorted(labels_by_name(packed)) == sorted(f"{name}/{n}.png" for name in "01" for n in range(3))
    other = prepare(source, tmp_path / "test", PrepareOptions(size=16, split="test"))
    assert (other.classes, len(other)) == (packed.classes, 6)
    assert other.fingerprint != packed.fingerprint
    assert len(prepare(source, tmp_path / "all", PrepareOptions(size=16, split="all"))) == 12
    with pytest.raises(DataError, match=r"--split is val, but .* has Testing \(6\), Training \(6\)"):
        prepare(source, tmp_path / "val", PrepareOptions(size=16, split="val"))


def test_flat_folders_of_splits_are_no_classes(tmp_path: Path, picture: Picture, as_folder: Make) -> None:
    files = numbered(picture, "train/{}.png", 6) | numbered(picture, "valid/{}.png", 3, 20)
    folder = as_folder(files)
    assert (prepare(folder, tmp_path / "a", SMALL).classes, len(ImageDataset(tmp_path / "a"))) == ((), 6)
    assert len(prepare(folder, tmp_path / "b", PrepareOptions(size=16, split="val"))) == 3
    alone = as_folder(numbered(picture, "data/test/{}.png", 3), "alone")
    assert len(prepare(alone, tmp_path / "c", SMALL)) == 3
    with pytest.raises(DataError, match=r"--split is train, but .* has test \(3\)"):
        prepare(alone, tmp_path / "d", PrepareOptions(size=16, split="train"))


def test_a_class_that_is_called_train_is_no_split(tmp_path: Path, picture: Picture, as_folder: Make) -> None:
    files = numbered(picture, "train/{}.png", 9) | numbered(picture, "tram/{}.png", 3, 20)
    packed = prepare(as_folder(files), tmp_path / "set", SMALL)
    assert (packed.classes, len(packed)) == (("train", "tram"), 12)


def test_folders_that_only_number_the_files_are_no_classes(
    tmp_path: Path, picture: Picture, as_folder: Make
) -> None:
    files = {
        f"{1000 * k:05d}/{1000 * k + n:05d}.png": picture(10 * k + n) for k in range(3) for n in range(3)
    }
    folder = as_folder(files)
    packed = prepare(folder, tmp_path / "set", SMALL)
    assert (packed.classes, len(packed)) == ((), 9)
    assert "only number the files" in notes(packed)
    assert len(prepare(folder, tmp_path / "f", PrepareOptions(size=16, labels="folders")).classes) == 3
