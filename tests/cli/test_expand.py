"""`kennel expand` and `kennel data export` as a user meets them."""

import numpy as np
import pytest

from kennel.data.dataset import ImageDataset
from kennel.runs.run_dir import RunDir
from scarce import write_scarce_set

SMALL = (
    "image.size=8",
    "generator.base_channels=4",
    "discriminator.base_channels=4",
    "batch_size=8",
    "num_ticks=2",
    "validation.every_ticks=0",
    "compute.precision=float32",
)


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A set of 3 classes with 20, 4 and 12 images, in an empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    return write_scarce_set(tmp_path / "sets" / "mine").path


@pytest.fixture
def training():
    """Options of a tiny training."""
    settings = [word for setting in SMALL for word in ("--set", setting)]
    return ("--recipe", "digits", "--images", "16", "--device", "cpu", *settings)


def test_a_generator_is_trained_and_the_set_filled_up_marked_shown_judged_and_exported(
    kennel, data, training, tmp_path
):
    outcome = kennel("expand", data, "--to", 15, *training)
    assert outcome.code == 0, outcome.err
    recipe = RunDir(tmp_path / "runs/expand-mine").recipe()
    assert recipe.num_classes == 3
    assert recipe.balance_classes
    big = ImageDataset(tmp_path / "sets/mine-to15")
    assert big.about["class_counts"] == [20, 15, 15]
    assert big.generated_count == 14
    assert np.array_equal(big.images[:36], ImageDataset(data).images)
    assert "50 images, 14 of them generated" in outcome.out
    assert "0 of 14 images were rejected" in outcome.out
    assert "Classes with fewer than 20 real images: class 1 (4), class 2 (12)" in outcome.err

    shown = kennel("data", "show", big.path)
    assert "14 of the images are generated (runs/expand-mine, first seed 0)" in shown.out
    rows = {
        line.split("│")[2].strip(): line.split("│")[3:5] for line in shown.out.splitlines() if "│" in line
    }
    assert [cell.strip() for cell in rows["class 1"]] == ["15", "11"]

    judge = ("--reference", big.path, "--extractor", "pixels", "--metrics", "recall")
    judged = kennel("judge", data, *judge)
    assert judged.code == 0, judged.err
    assert "14 of the 50 reference images were drawn by a generator" in judged.out.replace("\n", " ")

    exported = kennel("data", "export", big.path, tmp_path / "folder")
    assert "50 PNGs, 14 of them generated-*.png" in exported.out
    assert len([*(tmp_path / "folder/class 1").glob("generated-*.png")]) == 11
    folder = kennel("judge", data, *judge[:1], tmp_path / "folder", *judge[2:])
    assert "14 of the 50 reference images were drawn by a generator" in folder.out

    again = kennel("expand", data, "--to", 15, *training)
    assert again.code == 2
    assert "exists: give another folder, or --overwrite" in again.err
    other = kennel("expand", data, "--to", 15, "--run", tmp_path / "runs/expand-mine", "--out", "other")
    assert other.code == 0, other.err
    assert ImageDataset(tmp_path / "other").fingerprint == big.fingerprint


def test_nothing_is_done_where_every_class_has_enough(kennel, data, tmp_path):
    outcome = kennel("expand", data, "--to", 4)
    assert outcome.code == 0
    assert "Nothing is to be done: every class of" in outcome.out
    assert [path.name for path in tmp_path.iterdir()] == ["sets"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--run", "nothing"), "there is no nothing"),
        (("--run", "x", "--hours", "1"), "--hours is for training a generator"),
        (("--run", "x", "--set", "a=1"), "--set is for training a generator"),
        (("--recipe", "cgam"), "there is no recipe 'cgam': did you mean 'cgan'"),
        (("--recipe", "projected", "--set", "image.size=32"), "needs image size 32"),
        (("--images", "1k", "--hours", "1"), "each set the length"),
    ],
)
def test_what_cannot_be_done_is_refused_in_a_sentence_and_leaves_nothing(
    kennel, data, tmp_path, options, message
):
    outcome = kennel("expand", data, "--to", 15, *options)
    assert outcome.code == 2
    assert message in outcome.err
    assert outcome.err.count("Error:") == 1
    assert not (tmp_path / "sets/mine-to15").exists()
    assert not (tmp_path / "runs").exists()


def test_a_generator_that_copies_is_refused(kennel, data, training, tmp_path, monkeypatch):
    from kennel.evaluation.copy_guard import CopyGuard

    monkeypatch.setattr(CopyGuard, "copies", lambda guard, images: np.ones(len(images), bool))
    outcome = kennel("expand", data, "--to", 15, *training)
    assert outcome.code == 2
    assert "of the class 'class 1' were copies of its 4 training images or repetitions" in outcome.err
    assert not (tmp_path / "sets/mine-to15").exists()


def test_the_chosen_recipe_draws_by_class(kennel, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = write_scarce_set(tmp_path / "sets" / "mine", (90, 15), size=32).path
    small = [word for setting in SMALL[1:] for word in ("--set", setting)]
    outcome = kennel("expand", data, "--to", 20, "--images", 16, "--device", "cpu", *small)
    assert outcome.code == 0, outcome.err
    assert "acgan, for 105 gray pictures: it draws images of a given class" in outcome.err
    assert "by its 2 classes, each shown equally often" in outcome.err
    assert ImageDataset(tmp_path / "sets/mine-to20").generated_count == 5
