"""Walks, morphs and sweeps as moving pictures."""

import numpy as np
import pytest

from kennel.errors import RunError
from kennel.sampling.moving import MovieOptions, interpolation, morph, truncation_sweep
from kennel.sampling.pictures import composed
from loaded import loaded

SHORT = MovieOptions(frames=2)


def near(frame: np.ndarray, other: np.ndarray) -> bool:
    return frame.shape == other.shape and np.abs(frame.astype(int) - other).max() <= 1


def test_each_seed_has_the_class_or_instance_that_it_has_in_samples():
    for given in (loaded(classes=3), loaded(instances=5), loaded("stylegan2", classes=3)):
        frames = list(interpolation(given, range(4), options=SHORT))
        assert len(frames) == 8
        for seed in range(4):
            assert near(frames[2 * seed], composed(given.samples_of((seed,)).pixels()))


def test_a_fixed_class_is_kept():
    given = loaded(classes=3)
    frames = list(interpolation(given, (0, 1), 2, SHORT))
    assert near(frames[2], composed(given.samples_of((1,), label=2).pixels()))


def test_further_cells_show_the_following_seeds():
    given = loaded()
    frames = list(interpolation(given, (0, 1, 2), options=MovieOptions(frames=2, count=4)))
    assert near(frames[2], composed(given.samples_of((1, 4, 7, 10)).pixels()))
    assert interpolation(given, (0, 1, 2))._text["kennel:seeds"] == "0-2"


def test_a_morph_shows_every_class_with_one_seed():
    given = loaded(classes=3)
    frames = list(morph(given, (2, 0), 7, SHORT))
    for frame, label in ((frames[0], 2), (frames[2], 0)):
        assert near(frame, composed(given.samples_of((7,), label=label).pixels()))


def test_a_sweep_is_a_captioned_grid_there_and_back():
    given = loaded()
    moving = truncation_sweep(given, options=MovieOptions(frames=3, count=4))
    frames = list(moving)
    assert (len(frames), len(moving)) == (4, 4)
    assert np.array_equal(frames[1], frames[3])
    assert not np.array_equal(frames[0], frames[2])
    height, width = frames[0].shape
    assert height > width
    once = truncation_sweep(given, options=MovieOptions(frames=3, loop=False))
    assert len(list(once)) == len(once) == 3


def test_the_truncation_of_an_exported_file_is_that_of_the_walk():
    from dataclasses import replace

    given = replace(loaded(), truncation=0.5)
    frame = next(iter(interpolation(given, (0, 1), options=SHORT)))
    assert near(frame, composed(given.samples_of((0,)).pixels()))
    assert not near(frame, composed(loaded().samples_of((0,)).pixels()))


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: morph(loaded(), (0, 1)), "is unconditional: leave --morph out"),
        (lambda: morph(loaded(classes=3), (0, 3)), "class 3 is out of range"),
        (lambda: interpolation(loaded(), (0, 1), 1), "is unconditional"),
        (
            lambda: interpolation(loaded(classes=3), (0, 1), 1, MovieOptions(classes="data")),
            "give one of the two",
        ),
        (lambda: interpolation(loaded(), (0, 1), options=MovieOptions(classes="data")), "is unconditional"),
        (lambda: interpolation(loaded(), (0, 1), options=MovieOptions(frames=0)), "frames is 0"),
        (lambda: truncation_sweep(loaded(), options=MovieOptions(count=0)), "count is 0"),
        (lambda: interpolation(loaded(), range(9), options=MovieOptions(frames=99_999)), "fewer seeds or"),
    ],
)
def test_what_cannot_be_drawn_is_refused_before_drawing(draw, message):
    with pytest.raises(RunError, match=message):
        draw()
