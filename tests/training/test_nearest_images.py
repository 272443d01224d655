"""Samples beside the training images that are nearest: the right ones, and the closest pair first."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from kennel.config.recipe import override
from kennel.data.dataset import FORMAT, ImageDataset, set_fingerprint
from kennel.recipes import get_recipe
from kennel.runs.run_dir import RunDir
from kennel.sampling.load import load_run
from kennel.training import nearest_images
from kennel.training.nearest_images import draw_nearest, pairs
from kennel.training.run import train

CPU = torch.device("cpu")
SETTINGS = [
    "image.size=8",
    "image.channels=1",
    "batch_size=8",
    "num_ticks=1",
    "budget.images=16",
    "generator.base_channels=4",
    "discriminator.base_channels=4",
    "validation.every_ticks=0",
]


@pytest.fixture
def run(packed_set, tmp_path, monkeypatch):
    """A run's folder and its set."""
    monkeypatch.setenv("KENNEL_CACHE", str(tmp_path / "cache"))
    data = packed_set(count=60)
    train(override(get_recipe("digits"), SETTINGS), data, tmp_path / "run")
    return RunDir(tmp_path / "run"), data


def tiles(folder, side=64, padding=6):
    """The pairs of the picture, (32, side, 2 side), row by row; `tile` enlarged 8x16 pixels to 32x64."""
    with Image.open(folder.nearest) as picture:
        pixels = np.asarray(picture)
    height = side // 2
    return [
        pixels[top : top + height, left : left + side]
        for top in range(padding, pixels.shape[0] - 1, height + padding)
        for left in range(padding, pixels.shape[1] - 1, side + padding)
    ]


def with_images(data, images):
    """The set with other pixels."""
    np.save(data / "images.npy", images)
    about = {"format": FORMAT, "count": len(images), "classes": []}
    about["fingerprint"] = set_fingerprint(images, None, ())
    (data / "dataset.json").write_text(json.dumps(about))
    return data


def test_a_copied_sample_stands_beside_its_source_and_first(run):
    folder, data = run
    samples = load_run(folder.path).samples(32).pixels()
    reals = np.array(ImageDataset(data).images)
    reals[17] = samples[5]  # a training image that the run has "copied"
    found = draw_nearest(folder, with_images(data, reals), CPU)
    assert (found.count, found.extractor, found.among) == (32, "pixels", "")
    first, *others = tiles(folder)
    assert len(others) == 31
    left, right = first[:, :32], first[:, 32:]
    assert (left == right).all()
    assert (left[::4, ::4] == samples[5, 0]).all()
    drawn = {one[::4, :32:4].tobytes() for one in (first, *others)}
    assert drawn == {sample.tobytes() for sample in samples}
    real = {one.tobytes() for one in reals}
    assert all(one[::4, 32::4].tobytes() in real for one in others)


def test_of_a_large_set_some_are_looked_at_and_that_is_said(run, monkeypatch):
    folder, data = run
    monkeypatch.setattr(nearest_images, "MAX_TRAINING_IMAGES", 20)
    monkeypatch.setattr(nearest_images, "is_cached", lambda images, extractor: False)
    found = draw_nearest(folder, data, CPU)
    assert found.among == ", among 20 of 60 training pictures"
    assert len(tiles(folder)) == 32


def test_the_picture_says_what_it_is(run):
    folder, data = run
    draw_nearest(folder, data, CPU)
    with Image.open(folder.nearest) as picture:
        assert picture.text["kennel:seeds"] == "0-31"
        assert "training images" in picture.text["kennel:beside"]
        assert "generative adversarial network" in picture.text["Description"]


def test_the_extractor_is_another_than_the_one_that_taught_the_run(run, monkeypatch):
    folder, data = run
    asked = []

    def choose_extractor(teacher=None, fast_only=False):
        asked.append((teacher, fast_only))
        return "pixels"

    about = json.loads(folder.about_file.read_text())
    folder.about_file.write_text(json.dumps(about | {"teacher": "efficientnet_lite1"}))
    monkeypatch.setattr(nearest_images, "choose_extractor", choose_extractor)
    draw_nearest(folder, data, CPU)
    assert asked == [("efficientnet_lite1", True)]


def test_the_two_of_a_pair_touch():
    left, right = np.zeros((2, 1, 3, 3), np.uint8), np.ones((2, 1, 3, 3), np.uint8)
    both = pairs(left, right)
    assert both.shape == (2, 1, 3, 6)
    assert (both[..., :3] == 0).all()
    assert (both[..., 3:] == 1).all()
