"""Seeds as text."""

import pytest

from kennel.errors import RunError
from kennel.sampling.seeds import parse_seeds, seed_words


@pytest.mark.parametrize(
    ("text", "seeds"),
    [("0:3", (0, 1, 2, 3)), ("3,17,40", (3, 17, 40)), ("2:0", (2, 1, 0)), ("5", (5,)), ("1:2, 9", (1, 2, 9))],
)
def test_ranges_include_both_ends_and_lists_keep_their_order(text, seeds):
    assert parse_seeds(text, "--keep") == seeds


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a", "'a' is no list of seeds: write --interpolate 0:9"),
        ("1:2:3", "no list of seeds"),
        ("-1:2", "no list of seeds"),
        ("", "no list of seeds"),
        ("3", "is one seed: give at least 2"),
        ("0:999999999999", "more than 100,000 seeds"),
    ],
)
def test_other_texts_are_refused(text, message):
    with pytest.raises(RunError, match=message):
        parse_seeds(text, "--interpolate", least=2)


def test_seeds_without_gaps_are_a_range_and_others_a_list():
    assert seed_words(range(64)) == "0-63"
    assert seed_words((5,)) == "5-5"
    assert seed_words((0, 1, 0, 1)) == "0-1"
    assert seed_words((3, 17, 40)) == "3,17,40"
