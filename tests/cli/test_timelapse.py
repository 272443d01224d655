"""`kennel timelapse` as a user meets it."""

import pytest
from PIL import Image

from kennel.config.recipe import override
from kennel.recipes import get_recipe
from kennel.training.run import train


@pytest.fixture
def run(packed_set, tmp_path):
    """A finished run of two ticks."""
    settings = ["generator.base_channels=4", "discriminator.base_channels=4", "batch_size=8", "num_ticks=2"]
    settings += ["budget.images=64", "image.size=8", "validation.every_ticks=0"]
    train(override(get_recipe("digits"), settings), packed_set(), tmp_path / "run")
    return tmp_path / "run"


def test_the_grids_of_training_become_a_moving_picture(kennel, run, tmp_path):
    outcome = kennel("timelapse", run)
    assert outcome.code == 0, outcome.err
    assert "11 frames, 2.8 s" in outcome.out  # at 0, 32 and 64 images, and two seconds more
    with Image.open(run / "samples" / "timelapse.gif") as image:
        assert image.n_frames >= 3  # equal frames are merged
        assert b"generative adversarial network" in image.info["comment"]
    outcome = kennel("timelapse", run, "--fps", 3, "--out", tmp_path / "a.webp")
    assert "9 frames, 3.0 s" in outcome.out
    with Image.open(tmp_path / "a.webp") as image:
        assert image.n_frames >= 3


def test_mistakes_are_answered_in_one_sentence(kennel, run, tmp_path):
    for arguments, message in (
        ((tmp_path / "nosuch",), "is not a run"),
        ((run, "--out", tmp_path / "a.avi"), "ends in .gif, .webp, .apng or .mp4"),
        ((run, "--out", tmp_path), "is a folder"),
        ((run, "--fps", 60), "a GIF has at most 50 frames per second"),
    ):
        outcome = kennel("timelapse", *arguments)
        assert outcome.code == 2, outcome.out
        assert message in outcome.err
        assert len(outcome.err.strip().splitlines()) == 1
