"""Places and words of an axis's ticks, as people write them."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

from kennel.reporting.format import short_count

Number = int | float
MAX_TICKS = 6
_UNITS = ((3600, 2 * 3600), (60, 120), (1, 0))
"""Seconds of a unit of time, and the length of an axis from which on it is used."""


def linear_ticks(low: Number, high: Number, most: int = MAX_TICKS) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten from `low` to `high`, at most `most`."""
    span = high - low
    if span <= 0:
        return [float(low)]
    power = 10.0 ** math.floor(math.log10(span / most))
    step = next(size for factor in (1, 2, 5, 10, 20) if span / (size := factor * power) <= most - 1 + 1e-9)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def log_ticks(low: Number, high: Number, most: int = MAX_TICKS) -> list[float]:
    """Powers of ten, with 2 and 5 times them where there is room; on less than one power, equal steps."""
    decades = math.log10(high / low)
    if decades < 1:
        return linear_ticks(low, high, most)
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for factors in ((1, 2, 5), (1, 3), (1,)):
        found = [factor * 10.0**power for power in range(first, last + 1) for factor in factors]
        found = [tick for tick in found if low * (1 - 1e-9) <= tick <= high * (1 + 1e-9)]
        if len(found) <= most:
            return found
    return found[:: math.ceil(len(found) / most)]


def time_ticks(longest: Number) -> list[float]:
    """Whole seconds, minutes or hours from 0 to `longest` seconds."""
    unit = next(size for size, start in _UNITS if longest >= start)
    if longest / unit <= MAX_TICKS:
        return [float(unit * number) for number in range(int(longest / unit + 1e-9) + 1)]
    most = MAX_TICKS + 1
    return [tick * unit for tick in linear_ticks(0.0, longest / unit, most)]


def count_ticks(longest: Number) -> list[float]:
    """Whole counts from 0 to `longest`."""
    return [tick for tick in linear_ticks(0.0, longest) if tick == int(tick)]


def time_words(seconds: Number) -> str:
    """A place on an axis of time: 2 h, 30 min, 45 s."""
    if seconds >= 7200:
        return f"{seconds / 3600:.3g} h"
    return f"{seconds / 60:.3g} min" if seconds >= 60 else f"{seconds:.3g} s"


def tick_words(ticks: Sequence[Number]) -> Callable[[Number], str]:
    """How to write these ticks: equally many decimals, thousands as k, never a power of ten."""
    steps = [after - before for before, after in pairwise(ticks)]
    is_even = bool(steps) and max(steps) - min(steps) < 1e-6 * max(steps)
    if not is_even or max(map(abs, ticks)) >= 1000:
        return _plain
    decimals = max(0, -math.floor(math.log10(steps[0]) + 1e-9))
    return lambda value: f"{value:.{decimals}f}"


def _plain(value: Number) -> str:
    if value == 0 or abs(value) >= 1:
        return short_count(value)
    return f"{value:.{max(0, 1 - math.floor(math.log10(abs(value))))}f}".rstrip("0")
