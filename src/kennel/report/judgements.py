"""Judgements as tables, one per protocol: numbers that were measured differently never share one."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kennel.report.wording import figure, label, metric_direction, protocol_items

_SHOWN_ELSEWHERE = ("metric", "value", "protocol", "details", "interval")


@dataclass(frozen=True)
class Row:
    """One judgement in words."""

    metric: str
    direction: str
    value: str
    interval: str
    details: tuple[tuple[str, str], ...]
    file: str


@dataclass
class Protocol:
    """How numbers were measured, and all that were measured so."""

    title: str
    items: list[tuple[str, str, str]]
    """(what, short value, whole value) of each part of the protocol."""
    rows: list[Row] = field(default_factory=list)

    @property
    def has_intervals(self) -> bool:
        """Whether any row has one."""
        return any(row.interval for row in self.rows)

    @property
    def has_details(self) -> bool:
        """Whether any row has some."""
        return any(row.details for row in self.rows)


def read_judgements(folder: Path) -> tuple[list[Protocol], list[str]]:
    """All judgements in a run's `judgements/`, by protocol, and the names of files that hold none.

    A file is a list of objects with `metric`, `value`, `protocol` and perhaps `details` and `interval`.
    """
    protocols: dict[str, Protocol] = {}
    unreadable = []
    for file in sorted(folder.glob("*.json")):
        judgements = _read(file)
        if judgements is None:
            unreadable.append(file.name)
            continue
        for judgement in judgements:
            protocol = judgement["protocol"]
            key = json.dumps(protocol, sort_keys=True)
            if key not in protocols:
                protocols[key] = Protocol(_title(protocol), protocol_items(protocol))
            protocols[key].rows.append(_row(judgement, file.name))
    return list(protocols.values()), unreadable


def _read(file: Path) -> list[dict[str, Any]] | None:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(content, list) or not all(_is_judgement(one) for one in content):
        return None
    return content


def _is_judgement(one: object) -> bool:
    return (
        isinstance(one, dict)
        and isinstance(one.get("metric"), str)
        and "value" in one
        and isinstance(one.get("protocol"), dict)
    )


def _title(protocol: dict[str, Any]) -> str:
    extractor = protocol.get("extractor")
    if isinstance(extractor, dict):
        extractor = extractor.get("name")
    return f"By the {extractor} extractor" if isinstance(extractor, str) else "Judged"


def _row(judgement: dict[str, Any], file: str) -> Row:
    name = judgement["metric"]
    details = judgement.get("details")
    details = dict(details) if isinstance(details, dict) else {}
    # What a judgement says beyond the agreed names (a checkpoint, say) is shown and not dropped.
    details |= {key: value for key, value in judgement.items() if key not in _SHOWN_ELSEWHERE}
    return Row(
        metric=label(name),
        direction={-1: "lower is better", 1: "higher is better"}.get(metric_direction(name), ""),
        value=figure(judgement["value"]),
        interval="" if judgement.get("interval") is None else figure(judgement["interval"]),
        details=tuple((label(key), figure(value)) for key, value in details.items()),
        file=file,
    )
