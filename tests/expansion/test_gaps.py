"""Which classes lack images, and which generators can draw them."""

import numpy as np
import pytest

from kennel.data.dataset import ImageDataset
from kennel.data.prepare.from_set import subset
from kennel.errors import DataError, RunError
from kennel.expansion.gaps import (
    ClassGap,
    check_destination,
    check_generator,
    few_note,
    missing_images,
)
from kennel.sampling.resolve import load_generator


def test_every_class_with_fewer_images_lacks_the_rest(scarce_set):
    assert missing_images(scarce_set, 15) == (ClassGap(1, "class 1", 4, 11), ClassGap(2, "class 2", 12, 3))
    assert missing_images(scarce_set, 4) == ()


def test_a_set_without_classes_and_one_with_a_single_image_of_a_class_are_refused(packed_set, tmp_path):
    with pytest.raises(DataError, match="has no classes"):
        missing_images(ImageDataset(packed_set()), 5)
    whole = ImageDataset(packed_set(count=6, classes=2, name="two"))
    one = subset(whole, [0, 2, 1], tmp_path / "one")
    with pytest.raises(DataError, match=r"'class 1' of .* has 1 image, which a generator can only copy"):
        missing_images(one, 5)
    assert missing_images(one, 1) == ()


def test_classes_of_very_few_images_are_named():
    assert few_note((ClassGap(0, "a", 20, 1),)) == ""
    assert "a (3), b (19)" in few_note((ClassGap(0, "a", 3, 1), ClassGap(1, "b", 19, 1)))


def test_a_generator_of_this_set_is_accepted_and_of_another_set_with_a_note(
    scarce_set, run_by_class, packed_set
):
    told: list[str] = []
    check_generator(load_generator(run_by_class(scarce_set)), scarce_set, told.append)
    assert told == []
    other = ImageDataset(packed_set(count=30, classes=3, name="other"))
    check_generator(load_generator(run_by_class(other, name="run of other")), scarce_set, told.append)
    (note,) = told
    assert "was trained on" in note
    assert "other" in note


def test_a_generator_of_other_classes_sides_or_colors_is_refused(scarce_set, run_by_class, packed_set, fixed):
    two = ImageDataset(packed_set(count=20, classes=2, name="two"))
    with pytest.raises(RunError, match=r"does not draw the classes of .*it lacks class 2"):
        check_generator(load_generator(run_by_class(two)), scarce_set)
    with pytest.raises(RunError, match=r"draws 16x16 gray images, and .* has 8x8 gray images"):
        check_generator(fixed(lambda seed, label: np.zeros(1), "image.size=16"), scarce_set)
    with pytest.raises(RunError, match=r"draws 8x8 color images"):
        check_generator(fixed(lambda seed, label: np.zeros(1), "image.channels=3"), scarce_set)
    plain = run_by_class(scarce_set, "num_classes=0", name="plain")
    with pytest.raises(RunError, match="is unconditional: leave --run out"):
        check_generator(load_generator(plain), scarce_set)


def test_a_destination_that_exists_is_refused_unless_it_is_to_be_replaced(scarce_set, packed_set, tmp_path):
    check_destination(tmp_path / "new", scarce_set, overwrite=False)
    (tmp_path / "empty").mkdir()
    check_destination(tmp_path / "empty", scarce_set, overwrite=False)
    old = packed_set(name="old")
    with pytest.raises(DataError, match="exists: give another folder, or --overwrite"):
        check_destination(old, scarce_set, overwrite=False)
    check_destination(old, scarce_set, overwrite=True)
    (tmp_path / "empty/file").touch()
    with pytest.raises(DataError, match="is not a packed set"):
        check_destination(tmp_path / "empty", scarce_set, overwrite=True)
    for place in (scarce_set.path, scarce_set.path / "inside"):
        with pytest.raises(DataError, match="is the set itself or inside of it"):
            check_destination(place, scarce_set, overwrite=True)
