"""Groups judgements into tables by protocol."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kennel.errors import JudgementError
from kennel.evaluation.score import Score, read_judgements, warnings_about
from kennel.reporting.format import figure, interval_words, known, label, metric_direction, protocol_items
from kennel.storage.untrusted import leads_out, printable

CAPTIONS = {
    "memorisation": "The most suspicious generated images (left), each next to its nearest training images, "
    "which are real and have their cosine distances. Copies come first; their originals have a frame.",
    "distances": "Distances of the generated images, and of real images, to the nearest training image.",
    "precision_recall": "Precision and recall of distributions (PRD).",
    "fid_by_class": "FID of each class, the worst first.",
}
"""Captions of the pictures of judgements, by name."""
MAX_CELL = 6
"""Numbers shown in a table cell; longer lists are only counted."""


@dataclass(frozen=True)
class Row:
    """A judgement and the name of its file."""

    judgement: Score
    file: str

    @property
    def metric(self) -> str:
        return label(self.judgement.metric)

    @property
    def direction(self) -> str:
        """ "lower is better", "higher is better", or empty."""
        direction = metric_direction(self.judgement.metric)
        return {-1: "lower is better", 1: "higher is better"}.get(direction, "")

    @property
    def value(self) -> str:
        return known(self.judgement.value, self.judgement.interval)

    @property
    def interval(self) -> str:
        """The formatted interval, or empty."""
        return "" if self.judgement.interval is None else interval_words(self.judgement.interval)

    @property
    def floor(self) -> tuple[str, str] | None:
        """The score of real images against real ones and their count in words; None if not measured."""
        found, count = (self.judgement.details.get(name) for name in ("real_v_real", "real_v_real_count"))
        if not isinstance(found, int | float) or not isinstance(count, int):
            return None
        return known(float(found)), f"{count:,} a side"

    @property
    def details(self) -> list[tuple[str, str]]:
        """The formatted details; long lists, curves and tables stay in the JSON."""
        return [(label(name), _brief(value)) for name, value in self.judgement.details.items()]


@dataclass(frozen=True)
class Table:
    """Judgements under one protocol."""

    rows: tuple[Row, ...]

    @property
    def title(self) -> str:
        protocol = self.rows[0].judgement.protocol
        return f"Extractor {protocol.extractor}, {protocol.sample_count:,} images"

    @property
    def images(self) -> str:
        """What was judged, if it is the same in all rows; else empty."""
        found = {row.judgement.protocol.images for row in self.rows}
        return found.pop() if len(found) == 1 else ""

    @property
    def files(self) -> list[str]:
        """The names of the files with these judgements."""
        return list(dict.fromkeys(row.file for row in self.rows))

    @property
    def words(self) -> list[str]:
        """The protocol in sentences, one entry per file of judgements.

        Metrics of a file differ only in added sentences; the longest text is used.
        """
        texts: dict[str, str] = {}
        for row in self.rows:
            texts[row.file] = max(texts.get(row.file, ""), row.judgement.protocol.words(), key=len)
        return list(dict.fromkeys(texts.values()))

    @property
    def warnings(self) -> list[str]:
        return list(dict.fromkeys(text for row in self.rows for text in warnings_about(row.judgement)))

    @property
    def protocol(self) -> list[tuple[str, str, str]]:
        """The shared entries of the protocol as (name, short value, whole value), then those of metrics."""
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
    """A picture that `kennel judge` drew for a file of judgements."""

    name: str
    path: Path
    file: str

    @property
    def caption(self) -> str:
        return CAPTIONS[self.name]


def judging_pictures(folder: Path, tables: Iterable[Table]) -> list[list[JudgingPicture]]:
    """Returns, for each table, the pictures of its newest file that has pictures; each is used once."""
    seen: set[str] = set()
    pictures = []
    for table in tables:
        files = list(dict.fromkeys(row.file for row in table.rows))
        drawn = [found for file in files if (found := _pictures_of(folder, file))]
        newest = drawn[-1] if drawn and drawn[-1][0].file not in seen else []
        seen.update(one.file for one in newest)
        pictures.append(newest)
    return pictures


def _pictures_of(folder: Path, file: str) -> list[JudgingPicture]:
    stem = file.removesuffix(".json")
    places = {name: folder / f"{stem}-{name}.png" for name in CAPTIONS}
    return [JudgingPicture(name, path, file) for name, path in places.items() if path.is_file()]


def _brief(value: object) -> str:
    parts = list(value.values()) if isinstance(value, dict) else value
    if not isinstance(parts, list | tuple):
        return figure(value)
    if not parts:
        return "none"
    if len(parts) > MAX_CELL or any(isinstance(part, dict | list | tuple) for part in parts):
        return f"{len(parts):,} {'entry' if len(parts) == 1 else 'entries'}, see the JSON"
    return figure(value)


def judgement_tables(folder: Path) -> tuple[list[Table], list[str]]:
    """Returns a run's judgements as one table per protocol, and the names of unreadable files."""
    rows: list[Row] = []
    unreadable = []
    for file in () if leads_out(folder) else sorted(folder.glob("*.json")):
        try:
            rows += [Row(judgement, file.name) for judgement in read_judgements(file, named=False)]
        except JudgementError:
            unreadable.append(printable(file.name))
    return _tables(rows), unreadable


def _tables(rows: Iterable[Row]) -> list[Table]:
    """Groups rows by protocol; different options of a metric separate only rows of that metric."""
    tables: list[tuple[str, dict[str, str], list[Row]]] = []
    for row in rows:
        comparable = dict(row.judgement.protocol.comparable)
        options = _as_text(comparable.pop("options"))
        shared, metric = _as_text(comparable), row.judgement.metric
        for other_shared, options_by_metric, group in tables:
            if other_shared == shared and options_by_metric.get(metric, options) == options:
                options_by_metric[metric] = options
                group.append(row)
                break
        else:
            tables.append((shared, {metric: options}, [row]))
    return [Table(tuple(group)) for _, _, group in tables]


def _as_text(content: dict[str, Any]) -> str:
    return json.dumps(content, sort_keys=True)
