"""What the commands take where nothing is named: the run's folder, the newest run, its training set."""

import shlex

import numpy as np
import pytest
from PIL import Image

from kennel.runs.run_dir import RunDir

TINY = (
    "generator.base_channels=4",
    "discriminator.base_channels=4",
    "batch_size=8",
    "num_ticks=2",
    "image.size=8",
    "validation.every_ticks=0",
)
QUICK = (
    *(word for setting in TINY for word in ("--set", setting)),
    *("--images", "64", "--device", "cpu", "--compute", "float32"),
)
PIXELS = ("--extractor", "pixels", "--metrics", "fid", "--count", "40", "--device", "cpu")


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@pytest.fixture
def photos(tmp_path):
    """A folder of 12 small photographs, of noise, that has a known set's name."""
    folder = tmp_path / "here" / "mnist"
    folder.mkdir()
    for number in range(12):
        pixels = np.random.default_rng(number).integers(0, 256, (10, 10, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02}.png")
    return folder


def test_a_known_set_is_prepared_and_the_newest_run_is_sampled_judged_and_reported(kennel):
    outcome = kennel("train", "digits", "digits", *QUICK)
    assert outcome.code == 0, outcome.err
    run = RunDir("runs/digits-digits")
    packed = run.about()["data"]["path"]
    assert f"digits: 1,797 pictures prepared at 8x8 in gray: {packed}." in outcome.err
    assert "Run: runs/digits-digits\n" in outcome.err
    again = kennel("train", "digits", "digits", *QUICK)
    assert again.code == 0, again.err
    assert "1,797 pictures as they were prepared before" in again.err
    assert "Going on from 64 images" in again.err
    for command in (
        ("report",),
        ("sample", "--count", "4", "--device", "cpu"),
        ("judge", *PIXELS),
        ("export",),
    ):
        outcome = kennel(*command)
        assert outcome.code == 0, outcome.err
        assert "Run: runs/digits-digits, the newest in runs/.\n" in outcome.err
        if command[0] == "judge":
            assert f"Reference: {packed}, the run's training set.\n" in outcome.err
    outcome = kennel("compare", "newest", *PIXELS)
    assert "only one checkpoint is given (newest)" in outcome.err


@pytest.mark.parametrize("command", [("sample",), ("judge",), ("report",), ("export",), ("compare", "best")])
def test_without_any_run_the_way_to_make_one_is_told(kennel, command):
    outcome = kennel(*command)
    assert outcome.code == 2
    assert outcome.err == (
        "Error: there is no run in runs/: give a run's folder, or train one: `kennel train photos/`\n"
    )


def test_a_folder_here_with_a_known_sets_name_is_the_data_and_a_run_is_none(kennel, photos):
    outcome = kennel("train", "digits", "./mnist", *QUICK, "--set", "image.channels=3")
    assert outcome.code == 0, outcome.err
    assert "12 pictures prepared at 8x8 in color" in outcome.err
    refusal = kennel("train", "runs/digits-mnist")
    assert refusal.code == 2
    resuming = refusal.err.split("`")[1]
    assert resuming.endswith("--out runs/digits-mnist")
    assert "runs/digits-mnist is a run and no set of images" in refusal.err
    outcome = kennel(*shlex.split(resuming)[1:], "--device", "cpu")
    assert outcome.code == 0, outcome.err
    assert "Going on from 64 images" in outcome.err


def test_images_are_judged_only_beside_a_reference_that_is_named(kennel, photos):
    outcome = kennel("judge", photos)
    assert outcome.code == 2
    assert outcome.err.startswith("Error: --reference is missing: give the real images to compare with")
