"""The sample grids of a run as a moving picture."""

import numpy as np
import pytest

from kennel.errors import RunError
from kennel.images import save_png
from kennel.recipes import get_recipe
from kennel.sampling.png_metadata import grid_text
from kennel.sampling.timelapse import HOLD_SECONDS, timelapse


@pytest.fixture
def run(tmp_path):
    """A run's folder with three grids, and a picture that is none."""
    (tmp_path / "samples").mkdir()
    (tmp_path / "recipe.yaml").write_text(get_recipe("digits").to_yaml())
    (tmp_path / "run.json").write_text('{"data": {"path": "x", "fingerprint": "y", "classes": []}}')
    for seen in (0, 1000, 20000):
        write(tmp_path, seen, seen // 100)
    save_png(tmp_path / "samples" / "seeds0-63.png", np.zeros((9, 9), np.uint8))
    return tmp_path


def write(run, seen: int, level: int, side: int = 300) -> None:
    text = grid_text("finger", seen, range(64), "mobilenet")
    save_png(run / "samples" / f"{seen:012d}.png", np.full((side, side), level, np.uint8), text)


def test_the_grids_come_in_order_with_the_images_seen_under_them(run):
    moving = timelapse(run, 3)
    frames = list(moving)
    assert len(frames) == len(moving) == 3 + HOLD_SECONDS * 3
    assert [int(frame[0, 0]) for frame in frames] == [0, 10, *[200] * 7]
    captions = [frame[300:] for frame in frames]
    assert not np.array_equal(captions[0], captions[1])
    assert np.array_equal(captions[2], captions[-1])
    assert moving._text["kennel:images_seen"] == "20000"
    assert moving._text["kennel:seeds"] == "0-63"
    assert moving._text["kennel:teacher"] == "mobilenet"


def test_fewer_than_two_grids_are_refused(run):
    for seen in (1000, 20000):
        (run / "samples" / f"{seen:012d}.png").unlink()
    with pytest.raises(RunError, match="has 1 sample grid, and a timelapse needs at least 2"):
        timelapse(run)


def test_a_damaged_or_foreign_grid_is_named(run):
    write(run, 1000, 0, side=200)
    with pytest.raises(RunError, match=r"000000001000\.png is 200x200, and the newest grid 300x300"):
        list(timelapse(run))
    save_png(run / "samples" / "000000001000.png", np.zeros((300, 300), np.uint8))
    with pytest.raises(RunError, match="does not say after how many images"):
        list(timelapse(run))
    (run / "samples" / "000000020000.png").write_bytes(b"no image")
    with pytest.raises(RunError, match=r"000000020000\.png cannot be shown"):
        timelapse(run)


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(RunError, match="is not a run"):
        timelapse(tmp_path)
