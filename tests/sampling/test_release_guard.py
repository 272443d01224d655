"""Of a generator's samples, how many are too near to training images, and which pairs are shown."""

from dataclasses import replace

import numpy as np
import pytest

from kennel.evaluation.copy_guard import Match
from kennel.sampling.generator_file import CopySearch
from kennel.sampling.release_guard import _Pairs, _picture, default_count, too_many

SEARCH = CopySearch(
    count=1_000,
    copies=30,
    training_count=50,
    extractor="pixels",
    quantile=0.01,
    threshold=2.0,
    ratio_threshold=0.5,
    real_share=0.0,
    limit=0.03,
)


@pytest.mark.parametrize(
    ("copies", "count", "refused"), [(30, 1_000, False), (31, 1_000, True), (2, 4, False)]
)
def test_more_than_the_limit_is_refused_but_not_for_one_or_two(copies, count, refused):
    assert too_many(SEARCH.model_copy(update={"copies": copies, "count": count})) is refused


def pairs(nearness: list[float], pixels: np.ndarray) -> _Pairs:
    count = len(nearness)
    match = Match(
        np.linspace(1.0, 2.0, count), np.ones(count), np.arange(count)[::-1].copy(), np.arange(count) % 2 == 1
    )
    return _Pairs(np.arange(count), pixels, match, np.array(nearness))


def test_the_nearest_pairs_come_first_and_equal_ones_by_distance():
    pixels = np.arange(4, dtype=np.uint8).repeat(64).reshape(4, 1, 8, 8)
    some = pairs([2.0, 0.5, 1.0, 0.5], pixels)
    assert some.nearest(3).seeds.tolist() == [1, 3, 2]
    assert some.nearest(1).pixels.max() == 1
    both = replace(some, seeds=some.seeds + 10, nearness=some.nearness / 2).and_(some)
    assert both.nearest(3).seeds.tolist() == [11, 13, 1]


def test_the_picture_shows_the_training_image_as_it_was_matched_right_of_the_sample():
    real = np.zeros((2, 1, 8, 8), np.uint8)
    real[:, :, :, 0] = 200  # a light left border
    samples = np.full((2, 1, 8, 8), 100, np.uint8)
    shown = _picture(pairs([0.5, 2.0], samples), real, 1.5)
    padding, side, pair = 8, 96, 2 * 96
    assert shown.shape == (padding + side + 18 + padding, padding + 4 * (pair + padding), 3)
    row = shown[padding + side // 2, :, 0]
    first, second = padding, padding + pair + padding
    assert row[first + side // 2] == 100
    assert row[first + side] == 200  # not mirrored
    assert row[second + side] == 0
    assert row[second + pair - 1] == 200  # mirrored
    caption = shown[padding + side :].astype(int)
    red = (caption[..., 0] > 150) & (caption[..., 1] < 60)
    assert red[:, first : first + pair].any()
    assert not red[:, second : second + pair].any()


@pytest.mark.parametrize(
    ("operations", "images", "expected"),
    [(0, 10, 10_000), (0, 10**5, 1_953), (10**9, 10, 599), (10**12, 10, 500)],
)
def test_of_a_large_set_or_network_fewer_samples_are_compared(operations, images, expected):
    assert default_count(operations, images, 768) == expected
