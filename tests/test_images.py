"""The one conversion between uint8 and [-1, 1]."""

import torch

from kennel.images import to_float, to_uint8

LEVELS = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)


def test_every_level_survives_the_round_trip():
    assert torch.equal(to_uint8(to_float(LEVELS)), LEVELS)


def test_black_is_minus_one_and_white_is_one_exactly():
    floats = to_float(LEVELS).flatten()
    assert floats[0] == -1.0
    assert floats[-1] == 1.0


def test_values_outside_are_clamped_and_the_input_stays_as_it_was():
    images = torch.tensor([-3.0, 3.0]).reshape(1, 1, 1, 2)
    assert to_uint8(images).flatten().tolist() == [0, 255]
    assert images.flatten().tolist() == [-3.0, 3.0]
