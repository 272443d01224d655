"""Opening a packed set, and refusing what is none."""

import json

import numpy as np
import pytest

from kennel.data.dataset import ImageDataset, set_fingerprint
from kennel.data.images import ImageSource
from kennel.errors import DataError


def test_a_packed_set_is_an_image_set(packed_set):
    packed = ImageDataset(packed_set(count=10, channels=3, classes=2))
    assert isinstance(packed, ImageSource)
    assert len(packed) == 10
    assert packed.shape == (3, 8, 8)
    assert packed.classes == ("class 0", "class 1")
    assert np.array_equal(np.concatenate(list(packed.batches(3))), packed.images)


def test_a_folder_that_is_no_packed_set_is_refused_with_the_command(tmp_path):
    with pytest.raises(DataError, match="kennel data prepare"):
        ImageDataset(tmp_path)


def test_another_format_a_wrong_count_and_a_damaged_file_are_refused(packed_set):
    folder = packed_set()
    about = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps(about | {"format": 99}))
    with pytest.raises(DataError, match="format 99"):
        ImageDataset(folder)
    (folder / "dataset.json").write_text(json.dumps(about | {"count": 3}))
    with pytest.raises(DataError, match="does not hold the 3 images"):
        ImageDataset(folder)
    (folder / "dataset.json").write_text(json.dumps(about))
    (folder / "images.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(DataError, match="cannot be read"):
        ImageDataset(folder)


def test_a_fingerprint_changes_with_a_pixel_a_label_or_a_name():
    images = np.zeros((2, 1, 4, 4), np.uint8)
    labels = np.array([0, 1])
    first = set_fingerprint(images, labels, ("a", "b"))
    assert first == set_fingerprint(images.copy(), labels, ("a", "b"))
    changed = images.copy()
    changed[0, 0, 0, 0] = 1
    others = {
        set_fingerprint(changed, labels, ("a", "b")),
        set_fingerprint(images, labels[::-1].copy(), ("a", "b")),
        set_fingerprint(images, labels, ("a", "c")),
        set_fingerprint(images, None),
    }
    assert len(others | {first}) == 5


@pytest.mark.parametrize("text", ["", "[]", '{"format": 1}', "{", '"set"', "\udcff"])
def test_a_dataset_json_that_is_damaged_is_one_sentence(packed_set, text):
    folder = packed_set()
    (folder / "dataset.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError, match=r"dataset.json is damaged: prepare the set again|packed format None"):
        ImageDataset(folder)


def test_a_folder_of_pictures_is_to_be_prepared_into_another(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "dog.jpg").touch()
    with pytest.raises(DataError, match=r"data prepare .*photos DEST`, and give DEST"):
        ImageDataset(tmp_path / "photos")
    with pytest.raises(DataError, match=r"data prepare SOURCE .*nothing`"):
        ImageDataset(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((40, 5, 8, 8), "expected 1 channel or 3"),
        ((40, 1, 0, 0), "sides of 1 or more"),
        ((0, 1, 8, 8), "damaged"),
    ],
)
def test_images_that_no_picture_could_be_are_refused(packed_set, shape, message):
    folder = packed_set()
    np.save(folder / "images.npy", np.zeros(shape, np.uint8))
    with pytest.raises(DataError, match=message):
        ImageDataset(folder)


@pytest.mark.parametrize(
    "labels", [np.zeros((40, 1), np.int64), np.zeros(40), np.full(40, np.nan), np.zeros(40, np.uint64)]
)
def test_labels_of_another_kind_are_refused(packed_set, labels):
    folder = packed_set(classes=2)
    np.save(folder / "labels.npy", labels)
    with pytest.raises(DataError, match=r"labels\.npy holds .* expected int64, one per image"):
        ImageDataset(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"count": 1e300},
        {"count": 0},
        {"classes": [1, 2]},
        {"class_counts": ["a", 1]},
        {"report": [1]},
        {"report": {"seen": 0, "kept": 0, "dropped": {}, "examples": {}}},
    ],
)
def test_a_dataset_json_of_the_wrong_kind_is_one_sentence(packed_set, change):
    folder = packed_set(classes=2)
    about = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps(about | change))
    with pytest.raises(DataError, match=r"dataset\.json is damaged: prepare the set again"):
        ImageDataset(folder)
