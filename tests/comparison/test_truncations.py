"""One generator at several truncation thresholds."""

import numpy as np
import pytest

from kennel.comparison.truncations import (
    BRIGHTEST,
    DARKEST,
    TruncationScores,
    draw_curves,
    parse_thresholds,
    saturated_share,
)
from kennel.data.images import ArrayImages
from kennel.errors import RunError


def test_thresholds_are_numbers_and_none() -> None:
    assert parse_thresholds("none, 2,1.5,0.04") == [None, 2.0, 1.5, 0.04]


@pytest.mark.parametrize("text", ["2,much", "", "1,1.0", "none,none"])
def test_other_words_and_repetitions_are_refused(text: str) -> None:
    with pytest.raises(RunError, match="--truncation is"):
        parse_thresholds(text)


def test_saturated_values_are_those_near_both_ends() -> None:
    values = np.array([0, DARKEST, DARKEST + 1, 128, BRIGHTEST - 1, BRIGHTEST, 255, 100], np.uint8)
    images = ArrayImages(np.tile(values, 2).reshape(1, 1, 4, 4), "values")
    assert saturated_share(images, 1, 0) == 0.5


def test_curves_are_drawn_without_scores(tmp_path) -> None:
    grid = np.zeros((4, 1, 8, 8), np.uint8)
    found = [TruncationScores(value, (), 0.1, 0.2, grid) for value in (None, 1.0)]
    draw_curves(tmp_path / "curves.png", found)
    assert (tmp_path / "curves.png").stat().st_size > 1000
