"""Formats numbers, metric names and protocols for readers."""

import math
import re
from collections.abc import Mapping
from typing import Any

import kennel.evaluation.metrics.builtin  # noqa: F401 (registers the metrics)
from kennel.evaluation.metrics.base import METRICS

DETAIL_LABELS = {
    "distance": "distance to the nearest training image",
    "nearest_distance": "distance to the nearest training image",
    "distance_quantiles": "quantiles of that distance (0, 5, 50, 95, 100%)",
}
"""Labels of a score's details."""

MAX_DECIMALS, MAX_DECIMALS_OF_INTERVAL = 4, 6

_HEXADECIMAL = re.compile(r"[0-9a-f]{16,}")


def metric_direction(name: str) -> int:
    """Returns -1 if lower is better, +1 if higher is, and 0 for an unknown metric or one without direction.

    `mifid.distance` has the direction of `mifid`.
    """
    metric = name.partition(".")[0]
    return {"lower": -1, "higher": 1, "neither": 0}[METRICS[metric].direction] if metric in METRICS else 0


def label(name: str) -> str:
    """Formats a snake-case name: `mifid` as "MiFID", `sample_count` as "sample count"."""
    if name in METRICS:
        return METRICS[name].label
    if name in DETAIL_LABELS:
        return DETAIL_LABELS[name]
    return re.sub(r"[._]+", " ", name).replace("sha256", "SHA-256").strip()


def short_count(number: int | float) -> str:
    """Formats a count for an axis: 0, 500, 1.5k, 100k, 1M."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(number) >= size:
            return f"{number / size:.4g}{unit}"
    return f"{number:.4g}"


def duration(seconds: int | float) -> str:
    """Formats seconds as "2 h 5 min", "3 min 20 s" or "45 s"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours:,} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def figure(value: object) -> str:
    """Formats a measured value: integers with thousands separators, others with significant digits."""
    match value:
        case None:
            text = "–"
        case bool():
            text = "yes" if value else "no"
        case int():
            text = f"{value:,}"
        case float():
            text = _decimal(value)
        case dict():
            text = ", ".join(f"{label(str(name))} {figure(part)}" for name, part in value.items())
        case list() | tuple():
            text = (" to " if len(value) == 2 else ", ").join(map(figure, value))
        case _:
            text = str(value)
    return text


def _decimal(value: float) -> str:
    if not math.isfinite(value):
        return "not finite"
    if value == 0 or 1 <= abs(value) < 1e9:
        return f"{value:,.2f}"
    text = f"{value:.4g}"
    return f"{value:.6f}" if "e-" in text else text


def known(value: int | float, interval: tuple[int | float, int | float] | None = None) -> str:
    """Formats a score with the digits that are known: to the first of its interval's half-width, or else to
    three significant ones. Never with a power of ten."""
    if not math.isfinite(value):
        return "not finite"
    most = MAX_DECIMALS
    if interval is not None and (half := (interval[1] - interval[0]) / 2) > 0:
        decimals, most = -math.floor(math.log10(half)), MAX_DECIMALS_OF_INTERVAL
    elif value == 0:
        return "0"
    else:
        decimals = 2 - math.floor(math.log10(abs(value)))
    text = f"{value:,.{min(max(decimals, 0), most)}f}"
    return text.removeprefix("-") if not any(digit in text for digit in "123456789") else text


def interval_words(interval: tuple[int | float, int | float]) -> str:
    """Formats an interval with the digits of `known` of its value: "20.9 to 22.1"."""
    return " to ".join(known(end, interval) for end in interval)


def class_name(name: str) -> str:
    """Formats a class: n02085620-Chihuahua, with WordNet's number, as "Chihuahua"; underscores as spaces."""
    return re.sub(r"^n\d{8}[-_]", "", name).replace("_", " ").strip() or name


def shape_in_words(shape: object) -> str:
    """Formats (channels, height, width) as "64 × 64, color"."""
    match shape:
        case [channels, height, width]:
            return f"{height} × {width}, {'gray' if channels == 1 else 'color'}"
        case _:
            return str(shape)


def protocol_items(protocol: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Returns the entries of a protocol as (name, short value, whole value).

    The short value of a hash is its first 12 digits. Entries that are None are left out.
    """
    items = []
    for name, value in protocol.items():
        if value is None:
            continue
        whole = protocol_value(value)
        short = _HEXADECIMAL.sub(lambda found: f"{found.group()[:12]}…", whole)
        items.append((label(name), short, whole))
    return items


def protocol_value(value: object) -> str:
    """Formats a value of a protocol without rounding."""
    match value:
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}" if value >= 10_000 else str(value)
        case dict():
            return ", ".join(f"{label(str(name))} {protocol_value(part)}" for name, part in value.items())
        case list() | tuple():
            return ", ".join(map(protocol_value, value))
        case _:
            return str(value)
