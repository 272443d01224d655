"""Grids under their titles."""

import numpy as np

from kennel.comparison.picture import GAP, HEADER, MAX_WIDTH, side_by_side


def _grid(level: int, channels: int = 3) -> np.ndarray:
    return np.full((4, channels, 64, 64), level, np.uint8)


def test_grids_stand_side_by_side_below_their_titles():
    picture = side_by_side([_grid(10), _grid(200)], ["a", "b"])
    side = 2 * 64 + 3 * 2
    assert picture.shape == (HEADER + side, 2 * side + GAP, 3)
    assert (picture[HEADER + 2 : HEADER + 66, 2:66] == 10).all()
    assert (picture[HEADER + 2 : HEADER + 66, side + GAP + 2 : side + GAP + 66] == 200).all()
    assert (picture[:HEADER, :side] < 128).any()  # the title
    assert (picture[:HEADER, side : side + GAP] == 255).all()


def test_more_grids_than_the_width_holds_go_below():
    picture = side_by_side([_grid(10)] * 16, [f"run {number}" for number in range(16)])
    assert picture.shape[1] <= MAX_WIDTH
    assert picture.shape[0] == 2 * (HEADER + 134) + GAP


def test_gray_and_color_stand_in_one_picture_and_gray_alone_stays_gray():
    assert side_by_side([_grid(10, 1), _grid(20)], ["a", "b"]).ndim == 3
    assert side_by_side([_grid(10, 1)], ["a"]).ndim == 2


def test_a_title_that_is_too_long_is_cut():
    long, short = side_by_side([_grid(10)] * 2, ["w" * 90, ""]), side_by_side([_grid(10)] * 2, ["w" * 12, ""])
    assert long.shape == short.shape
    assert (long[:HEADER, 134:] == 255).all()
