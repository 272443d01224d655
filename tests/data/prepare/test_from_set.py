"""Sets made from others have the same pixels; exported ones are folders that can be prepared again."""

import json

import numpy as np
import pytest
from PIL import Image

from kennel.data.dataset import ImageDataset
from kennel.data.image_files import FileSet
from kennel.data.prepare.from_set import class_folders, export, names_of, subset
from kennel.errors import DataError


def mark(folder, rows) -> ImageDataset:
    """Marks rows of a packed set as generated."""
    dataset = ImageDataset(folder)
    marks = np.zeros(len(dataset), bool)
    marks[list(rows)] = True
    counts = np.bincount(dataset.labels[marks], minlength=len(dataset.classes)).tolist()
    about = dataset.about | {
        "generated": {"count": len(rows), "class_counts": counts, "generator": "runs/x", "seed": 0}
    }
    np.save(folder / "generated.npy", marks)
    (folder / "dataset.json").write_text(json.dumps(about))
    return ImageDataset(folder)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_subset_has_the_pixels_labels_and_classes_of_its_rows(packed_set, tmp_path, channels):
    whole = ImageDataset(packed_set(channels=channels, classes=4))
    rows = [5, 2, 11, 0, 3, 1]
    part = subset(whole, rows, tmp_path / "part")
    assert np.array_equal(part.images, whole.images[rows])
    assert np.array_equal(part.labels, whole.labels[rows])
    assert part.classes == whole.classes
    assert names_of(part) == [str(row) for row in rows]
    part.refuse_other_pixels()


def test_an_exported_set_is_a_folder_per_class_whose_generated_images_say_so(packed_set, tmp_path):
    dataset = mark(packed_set(count=12, classes=3), [9, 10, 11])
    assert export(dataset, tmp_path / "folder") == 12
    files = sorted(
        path.relative_to(tmp_path / "folder").as_posix() for path in (tmp_path / "folder").rglob("*.png")
    )
    assert files[:4] == [
        "class 0/generated-000009.png",
        "class 0/real-000000.png",
        "class 0/real-000003.png",
        "class 0/real-000006.png",
    ]
    image = Image.open(tmp_path / "folder/class 0/generated-000009.png")
    assert np.array_equal(np.asarray(image), dataset.images[9, 0])
    assert "generative adversarial network" in image.text["Description"]
    assert "Description" not in Image.open(tmp_path / "folder/class 0/real-000003.png").text
    assert FileSet(tmp_path / "folder").generated_count == 3


def test_a_folder_that_is_not_empty_is_not_written_to(packed_set, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine.txt").touch()
    with pytest.raises(DataError, match="is not empty"):
        export(ImageDataset(packed_set()), tmp_path / "full")
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine.txt"]


def test_classes_that_name_no_folder_become_numbers():
    assert class_folders(["cat", "../up", "a/b", "."]) == ["cat", "class-1", "class-2", "class-3"]


def test_points_are_not_packed(packed_set, tmp_path):
    folder = packed_set(channels=2, size=1)
    with pytest.raises(DataError, match="expected squares in gray or color"):
        subset(ImageDataset(folder), [0], tmp_path / "part")
    assert not (tmp_path / "part").exists()
