"""Ticks are round numbers, written without powers of ten."""

import pytest

from kennel.reporting.ticks import linear_ticks, log_ticks, tick_words, time_words


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (0.0, 100.0, ["0", "20", "40", "60", "80", "100"]),
        (-0.001, 0.002, ["-0.001", "0.000", "0.001", "0.002"]),
        (0.52, 0.91, ["0.6", "0.7", "0.8", "0.9"]),
        (0.0, 250_000.0, ["0", "50k", "100k", "150k", "200k", "250k"]),
    ],
)
def test_linear_ticks_are_round_and_have_equally_many_decimals(low, high, words):
    ticks = linear_ticks(low, high)
    assert [tick_words(ticks)(tick) for tick in ticks] == words


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (0.2, 40.0, ["0.3", "1", "3", "10", "30"]),
        (0.0001, 4000.0, ["0.0001", "0.01", "1", "100"]),
        (2.0, 6.5, ["2", "3", "4", "5", "6"]),
    ],
)
def test_ticks_of_a_log_axis_are_plain_numbers(low, high, words):
    ticks = log_ticks(low, high)
    assert [tick_words(ticks)(tick) for tick in ticks] == words


def test_ticks_never_leave_the_axis():
    for low, high in ((0.3, 0.31), (-7.0, 5.0), (1e-6, 3e-6), (12.0, 12.0)):
        assert all(low <= tick <= high for tick in linear_ticks(low, high))
    assert all(0.03 <= tick <= 7 for tick in log_ticks(0.03, 7.0))


def test_times_have_the_unit_of_their_length():
    assert [time_words(seconds) for seconds in (45, 90, 1800, 7200)] == ["45 s", "1.5 min", "30 min", "2 h"]
