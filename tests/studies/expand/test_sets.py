"""The sets of the study: nothing is trained and tested on, and every arm is filled up equally."""

import numpy as np
import pytest
import torch

from generators import Fixed, noise
from kennel.config.base import validated
from kennel.data.dataset import ImageDataset
from kennel.errors import DataError, RecipeError, UnknownNameError
from kennel.expansion import expand, missing_images
from kennel.expansion.expand import GuardOptions
from kennel.features.pixels import PixelCells
from kennel.studies.expand.config import ExpandConfig
from kennel.studies.expand.sets import (
    arm_images,
    augmented_copies,
    held_out_share,
    scarce_labels,
    study_sets,
)
from scarce import write_scarce_set

CPU = torch.device("cpu")


def study(**settings) -> ExpandConfig:
    content = {"name": "x", "scarce": 1, "keep": 3, "seeds": 2, "images": 64, "recipe": "digits"}
    settings = {**content, "settings": ["image.size=8"], **settings}
    return validated(ExpandConfig, settings, "study")


@pytest.fixture
def data(tmp_path) -> ImageDataset:
    return write_scarce_set(tmp_path / "set", (40, 30, 20))


def test_test_images_are_a_share_of_each_class_and_in_no_training_set(data, tmp_path):
    found = study_sets(study(), tmp_path / "out", {"set": str(data.path)}, CPU)
    assert np.bincount(data.labels[found.test_rows]).tolist() == [10, 8, 5]
    assert found.scarce == (0,)
    test = {image.tobytes() for image in data.at(found.test_rows)}
    for run in found.runs:
        scarce = ImageDataset(run.set_path)
        assert scarce.about["class_counts"] == [3, 22, 15]
        assert not test & {image.tobytes() for image in scarce.images}
        assert run.recipe.num_classes is None
        assert run.recipe.balance_classes
        assert run.recipe.budget.images == 64
        assert run.recipe.validation.every_ticks == 0
    first, second = (ImageDataset(run.set_path).fingerprint for run in found.runs)
    assert first != second
    assert [run.recipe.seed for run in found.runs] == [0, 1]


def test_sets_are_the_same_when_the_study_is_continued_and_others_are_refused(data, tmp_path):
    first = study_sets(study(), tmp_path / "out", {"set": str(data.path)}, CPU)
    written = first.runs[0].set_path / "images.npy"
    before = written.stat().st_mtime_ns
    again = study_sets(study(), tmp_path / "out", {"set": str(data.path)}, CPU)
    assert again.test_rows.tolist() == first.test_rows.tolist()
    assert written.stat().st_mtime_ns == before
    with pytest.raises(DataError, match="give the study another --out"):
        study_sets(study(keep=4), tmp_path / "out", {"set": str(data.path)}, CPU)


def test_a_test_set_of_ones_own_leaves_all_images_to_the_training(data, tmp_path):
    test = write_scarce_set(tmp_path / "test", (4, 4, 4))
    sets = {"train": str(data.path), "test": str(test.path)}
    found = study_sets(study(), tmp_path / "out", sets, CPU)
    assert len(found.test_rows) == 12
    assert ImageDataset(found.runs[0].set_path).about["class_counts"] == [3, 30, 20]
    other = write_scarce_set(tmp_path / "other", (4, 4))
    with pytest.raises(DataError, match="differ in their classes"):
        study_sets(study(), tmp_path / "out2", {**sets, "test": str(other.path)}, CPU)


def test_scarce_classes_are_named_or_evenly_spaced():
    names = tuple("abcdefghij")
    assert scarce_labels(study(scarce=5), names) == (0, 2, 4, 6, 8)
    assert scarce_labels(study(scarce=3), names) == (0, 3, 6)
    assert scarce_labels(study(scarce=("d", "a", "d")), names) == (0, 3)
    with pytest.raises(RecipeError, match="at least one must stay whole"):
        scarce_labels(study(scarce=10), names)
    with pytest.raises(UnknownNameError, match="there is no class 'x'"):
        scarce_labels(study(scarce=("x",)), names)


@pytest.mark.parametrize(
    ("settings", "sets", "message"),
    [
        ({}, {}, "names no data"),
        ({}, {"a": "set", "b": "set"}, "train=DATA and test=DATA"),
        ({"keep": 60}, {"a": "set"}, "lower keep"),
        ({}, {"a": "nothing"}, "there is no set nothing"),
    ],
)
def test_what_cannot_be_studied_is_refused(data, tmp_path, monkeypatch, settings, sets, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((RecipeError, DataError), match=message):
        study_sets(study(**settings), tmp_path / "out", sets, CPU)


def test_a_share_has_at_least_one_image_of_each_class():
    labels = np.array([0] * 10 + [1])
    rows = held_out_share(labels, 0.25)
    assert np.bincount(labels[rows]).tolist() == [2, 1]
    assert rows.tolist() == held_out_share(labels, 0.25).tolist()


def test_augmented_copies_are_near_their_image_and_each_another():
    image = np.zeros((2, 3, 16, 16), np.uint8)
    image[0, :, 6:10, 4:8] = 200
    image[1, :, 2:4, 2:14] = 90
    copies = augmented_copies(image, 9, 0, flip=False)
    assert copies.shape == (9, 3, 16, 16)
    assert len({copy.tobytes() for copy in copies}) == 9
    assert [copy.max() > 150 for copy in copies] == [True, False] * 4 + [True]
    assert np.abs(copies[::2].mean((1, 2, 3)) / image[0].mean() - 1).max() < 0.35
    assert np.array_equal(augmented_copies(image, 9, 0, flip=False), copies)
    assert not np.array_equal(augmented_copies(image, 9, 1, flip=False), copies)


def test_half_of_the_copies_are_mirrored_where_that_is_allowed():
    image = np.zeros((1, 1, 16, 16), np.uint8)
    image[..., :5] = 255
    sides = augmented_copies(image, 400, 0, flip=True)[..., :2].mean((1, 2, 3)) < 128
    assert 0.4 < sides.mean() < 0.6
    assert not (augmented_copies(image, 50, 0, flip=False)[..., :2].mean((1, 2, 3)) < 128).any()


def test_every_arm_but_the_first_has_as_many_images_of_each_class(tmp_path):
    scarce = write_scarce_set(tmp_path / "scarce")
    gaps = missing_images(scarce, 15)
    big = expand(scarce, gaps, Fixed(noise), tmp_path / "big", GuardOptions(PixelCells())).dataset
    counts = {
        arm: np.bincount(arm_images(arm, scarce, big, 0)[1]).tolist() for arm in ("scarce", "augmented")
    }
    assert counts == {"scarce": [20, 4, 12], "augmented": [20, 15, 15]}
    images, labels = arm_images("generated", scarce, big, 0)
    assert np.array_equal(images, big.images)
    assert np.array_equal(labels, big.labels)
    images, labels = arm_images("both", scarce, big, 0)
    assert np.bincount(labels).tolist() == [20, 15, 15]
    drawn = {image.tobytes() for image in big.images[big.generated]}
    own = [sum(image.tobytes() in drawn for image in images[labels == label]) for label in range(3)]
    assert own == [0, 5, 1]
