"""A run on a streamed set is bit for bit the run on a resident one, and survives what happens to the file."""

import os
import threading

import pytest

from kennel.config.recipe import override
from kennel.errors import DataError
from kennel.recipes import get_recipe
from kennel.runs import checkpoint
from kennel.runs.run_dir import RunDir
from kennel.training.run import train
from observers import StopAt

RECIPE = override(
    get_recipe("dcgan"),
    [
        *(
            "image.size=8",
            "image.channels=1",
            "generator.base_channels=4",
            "discriminator.base_channels=4",
            "num_classes=0",
        ),
        *("batch_size=8", "num_ticks=4", "validation.every_ticks=0", "budget.images=128"),
        *("techniques.random_resized_crop=on", "techniques.horizontal_flip=on"),
    ],
)


class Meddler(StopAt):
    """Does something once, when the run has shown 64 images; remembers what was said."""

    def __init__(self, act=lambda: None):
        super().__init__()
        self.act = act

    def on_iteration(self, images_seen, total):
        if images_seen == 64:
            self.act()


def checksum(run):
    return checkpoint.newest(RunDir(run).checkpoints).metadata["checksum"]


def no_thread_is_left():
    return "kennel-ahead" not in [thread.name for thread in threading.enumerate()]


def test_streamed_and_resident_runs_are_the_same_and_say_which_they_are(packed_set, tmp_path):
    data = packed_set(count=37)
    resident, streamed = Meddler(), Meddler()
    assert train(RECIPE, data, tmp_path / "resident", observer=resident, resident_bytes=1 << 30)
    assert train(RECIPE, data, tmp_path / "streamed", observer=streamed, resident_bytes=0)
    assert checksum(tmp_path / "streamed") == checksum(tmp_path / "resident")
    assert "The set (2.37 kB) is in the memory of cpu." in resident.said
    assert f"The set (2.37 kB) is streamed from {data}." in streamed.said
    assert no_thread_is_left()


def test_a_set_that_is_cut_off_meanwhile_ends_the_run_in_a_sentence_and_it_goes_on_when_mended(
    packed_set, tmp_path
):
    data = packed_set(count=500)
    file = data / "images.npy"
    content = file.read_bytes()
    cut = Meddler(lambda: os.truncate(file, 1000))
    # 16 batches are announced and made ahead: the cut is met after those that are ready.
    recipe = override(RECIPE, ["budget.images=512"])
    with pytest.raises(DataError, match=r"images\.npy' can no longer be read \(it ends before image"):
        train(recipe, data, tmp_path / "cut", observer=cut, resident_bytes=0)
    assert no_thread_is_left()
    file.write_bytes(content)
    assert train(recipe, data, tmp_path / "cut", resident_bytes=0)
    assert train(recipe, data, tmp_path / "whole", resident_bytes=1 << 30)
    assert checksum(tmp_path / "cut") == checksum(tmp_path / "whole")


def test_a_set_that_is_replaced_meanwhile_is_read_to_the_end_as_it_was(packed_set, tmp_path):
    data, other = packed_set(count=200), packed_set(count=100, name="other")
    assert train(RECIPE, data, tmp_path / "whole", resident_bytes=0)
    replace = Meddler(lambda: (data.rename(tmp_path / "old"), other.rename(data)))
    assert train(RECIPE, data, tmp_path / "replaced", observer=replace, resident_bytes=0)
    assert checksum(tmp_path / "replaced") == checksum(tmp_path / "whole")
