"""Judgements as tables: numbers that were measured differently never share one."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kennel.errors import JudgementError
from kennel.evaluation.score import Score, read_judgements, warnings_about
from kennel.reporting.format import figure, label, metric_direction, protocol_items
from kennel.storage.untrusted import leads_out, printable

CAPTIONS = {
    "memorisation": "The most suspicious samples (left), each beside the real training images that are "
    "nearest to it. Copies come first, and what they were copied from has a frame.",
    "distances": "How far the samples are from the nearest training image, and how far real images are.",
    "precision_recall": "Precision and recall of distributions: the curve over all trade-offs.",
    "fid_by_class": "FID of each class by itself, the worst first.",
}
"""What the pictures beside a file of judgements show, by name."""
CELL_HOLDS = 6
"""Numbers that a table's cell takes; what is longer is counted."""


@dataclass(frozen=True)
class Judged:
    """A judgement and the file it was read from."""

    judgement: Score
    file: str

    @property
    def metric(self) -> str:
        """The metric's name for the eye."""
        return label(self.judgement.metric)

    @property
    def direction(self) -> str:
        """Which way is better, where that is known."""
        direction = metric_direction(self.judgement.metric)
        return {-1: "lower is better", 1: "higher is better"}.get(direction, "")

    @property
    def value(self) -> str:
        """The value, rounded for the eye."""
        return figure(self.judgement.value)

    @property
    def interval(self) -> str:
        """The interval, or nothing."""
        return "" if self.judgement.interval is None else figure(self.judgement.interval)

    @property
    def details(self) -> list[tuple[str, str]]:
        """What the value is made of; long lists, curves and tables stay in the JSON."""
        return [(label(name), _brief(value)) for name, value in self.judgement.details.items()]


@dataclass(frozen=True)
class Table:
    """Judgements that may stand in one column: all were measured the same way."""

    rows: tuple[Judged, ...]

    @property
    def title(self) -> str:
        """By whom, and on how many images."""
        protocol = self.rows[0].judgement.protocol
        return f"By the {protocol.extractor} extractor, on {protocol.sample_count:,} images"

    @property
    def has_intervals(self) -> bool:
        """Whether any row has one."""
        return any(row.interval for row in self.rows)

    @property
    def has_details(self) -> bool:
        """Whether any row has some."""
        return any(row.details for row in self.rows)

    @property
    def words(self) -> list[str]:
        """The protocol in sentences, once for each file of judgements.

        Metrics of one file differ only in sentences that some add: the longest says what all share.
        """
        told: dict[str, str] = {}
        for row in self.rows:
            words = row.judgement.protocol.words()
            told[row.file] = max(told.get(row.file, ""), words, key=len)
        return list(dict.fromkeys(told.values()))

    @property
    def warnings(self) -> list[str]:
        """What a reader should know before quoting a value."""
        return list(dict.fromkeys(text for row in self.rows for text in warnings_about(row.judgement)))

    @property
    def protocol(self) -> list[tuple[str, str, str]]:
        """Every shared part of the protocol as (what, short value, whole value), then what a metric adds."""
        shared = dict(self.rows[0].judgement.protocol.comparable)
        shared.pop("options")
        for row in self.rows:
            options = row.judgement.protocol.options
            shared |= {f"{row.metric}: {label(name)}": value for name, value in options.items()}
        versions = {_as_text(row.judgement.protocol.versions): row for row in self.rows}
        if len(versions) == 1:
            shared["versions"] = self.rows[0].judgement.protocol.versions
        else:
            shared["versions"] = "; ".join(f"{text} ({row.file})" for text, row in versions.items())
        return protocol_items(shared)


@dataclass(frozen=True)
class JudgingPicture:
    """A picture that `kennel judge` drew beside a file of judgements."""

    name: str
    path: Path
    file: str

    @property
    def caption(self) -> str:
        """What it shows."""
        return CAPTIONS[self.name]


def judging_pictures(folder: Path, tables: Iterable[Table]) -> list[list[JudgingPicture]]:
    """For each table the pictures of its newest file that has some; none is shown under two tables."""
    seen: set[str] = set()
    pictures = []
    for table in tables:
        files = list(dict.fromkeys(row.file for row in table.rows))
        drawn = [found for file in files if (found := _drawn_beside(folder, file))]
        newest = drawn[-1] if drawn and drawn[-1][0].file not in seen else []
        seen.update(one.file for one in newest)
        pictures.append(newest)
    return pictures


def _drawn_beside(folder: Path, file: str) -> list[JudgingPicture]:
    stem = file.removesuffix(".json")
    places = {name: folder / f"{stem}-{name}.png" for name in CAPTIONS}
    return [JudgingPicture(name, path, file) for name, path in places.items() if path.is_file()]


def _brief(value: object) -> str:
    """A detail as it fits into a cell."""
    parts = list(value.values()) if isinstance(value, dict) else value
    if not isinstance(parts, list | tuple):
        return figure(value)
    if not parts:
        return "none"
    if len(parts) > CELL_HOLDS or any(isinstance(part, dict | list | tuple) for part in parts):
        return f"{len(parts):,} {'entry' if len(parts) == 1 else 'entries'}, see the JSON"
    return figure(value)


def judgement_tables(folder: Path) -> tuple[list[Table], list[str]]:
    """A run's `judgements/` as one table per protocol, and the names of files that hold no judgements."""
    judged: list[Judged] = []
    unreadable = []
    for file in () if leads_out(folder) else sorted(folder.glob("*.json")):
        try:
            judged += [Judged(judgement, file.name) for judgement in read_judgements(file, named=False)]
        except JudgementError:
            unreadable.append(printable(file.name))
    return _tables(judged), unreadable


def _tables(judged: Iterable[Judged]) -> list[Table]:
    """One table per protocol. Options of a metric (epsilon, splits) part judgements by that metric only."""
    tables: list[tuple[str, dict[str, str], list[Judged]]] = []
    for one in judged:
        comparable = dict(one.judgement.protocol.comparable)
        options = _as_text(comparable.pop("options"))
        shared, metric = _as_text(comparable), one.judgement.metric
        for other_shared, options_by_metric, rows in tables:
            if other_shared == shared and options_by_metric.get(metric, options) == options:
                options_by_metric[metric] = options
                rows.append(one)
                break
        else:
            tables.append((shared, {metric: options}, [one]))
    return [Table(tuple(rows)) for _, _, rows in tables]


def _as_text(content: dict[str, Any]) -> str:
    return json.dumps(content, sort_keys=True)
