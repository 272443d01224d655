"""Ranges and choices as words, and what is refused."""

import pytest

from kennel.errors import RecipeError
from kennel.tuning.dimension import Dimension, parse_dimension


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.b=1:8", Dimension("a.b", 1, 8)),
        ("a=1:8:log", Dimension("a", 1, 8, log=True)),
        ("a=1e-5:1e-3:log", Dimension("a", 1e-5, 1e-3, log=True)),
        ("a=0:0.9", Dimension("a", 0.0, 0.9)),
        ("a=500k:2M", Dimension("a", 500_000, 2_000_000)),
        ("a=16,32", Dimension("a", choices=(16, 32))),
        ("a=0,0.5", Dimension("a", choices=(0.0, 0.5))),
        ("a=relu, leaky_relu", Dimension("a", choices=("relu", "leaky_relu"))),
        ("a=on,off", Dimension("a", choices=(True, False))),
        ("a=[8, 8],[16, 16]", Dimension("a", choices=("[8, 8]", "[16, 16]"))),
    ],
)
def test_a_range_or_choices_are_parsed(text, expected):
    found = parse_dimension(text)
    assert found == expected
    assert [type(one) for one in found.ends] == [type(one) for one in expected.ends]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a", "is not a range: write --space key=low:high"),
        ("a=", "is not a range"),
        ("a=3:1", "3 is not below 1: give the lower bound first"),
        ("a=1:1", "fix the value with --set a=1"),
        ("a=0:1:log", "must begin above 0, not at 0"),
        ("a=1:2:linear", "only :log may follow"),
        ("a=low:high", "low is not a number; for words write a=a,b,c"),
        ("a=0:.inf", "inf is not a number"),
        ("a=5", "has one value: fix it with --set a=5"),
        ("a=5,5", "a choice is given twice"),
        ("a=5,,6", "an empty choice"),
    ],
)
def test_what_is_neither_is_refused_with_a_remedy(text, message):
    with pytest.raises(RecipeError, match=message):
        parse_dimension(text)


def test_a_dimension_says_what_it_contains_and_what_it_is():
    rate = Dimension("rate", 1e-5, 1e-3, log=True)
    assert rate.words == "1e-05 to 0.001, log"
    assert rate.contains(1e-5)
    assert not rate.contains(2e-3)
    assert not rate.contains(None)
    steps = Dimension("steps", 1, 3)
    assert steps.contains(3)
    assert not steps.contains(2.5)
    assert not steps.contains(True)
    switch = Dimension("ema", choices=(True, False))
    assert switch.words == "on, off"
    assert switch.contains(True)
    assert not switch.contains(1)
