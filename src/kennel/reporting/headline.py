"""The first lines of a run's page: its score with its floor, what that means, and the next command."""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kennel.config.recipe import Recipe
from kennel.evaluation.metrics.base import METRICS
from kennel.reporting.format import known, label, metric_direction
from kennel.reporting.panels import best_place
from kennel.reporting.score_tables import Row, Table
from kennel.runs.run_dir import RunDir

CLOSE = 1.1
"""A FID of at most this many times its floor is at the floor."""
NO_FLOOR = "Judge it with the floor, the score of real images against real ones: see Commands."
AT = re.compile(r"at [\d,]+ images")
MEANINGS = {
    "fid": "0 would be equal means and covariances of the features.",
    "kid": "0 would be equal distributions of the features; noise can make it negative.",
    "precision": "It is the share of the generated images that lie among the real ones: realism.",
    "recall": "It is the share of the real images that lie among the generated ones: variety.",
}
"""What a metric says, where its summary does not say it in a sentence."""


@dataclass(frozen=True)
class Headline:
    """`value` is what is set in large type; `floor` and `basis` follow it in one line; `meaning` are
    sentences, `caution` says why the score is biased, or is empty."""

    name: str
    value: str
    floor: str
    basis: str
    meaning: tuple[str, ...]
    caution: str = ""


@dataclass(frozen=True)
class Commands:
    """Commands to type in `folder`: the next one with its purpose, and all of them as (purpose, command)."""

    folder: str
    next: tuple[str, str]
    all: Sequence[tuple[str, str]]


def headline(
    folder: RunDir, recipe: Recipe, log: Sequence[Mapping[str, Any]], tables: Sequence[Table], doubt: str = ""
) -> Headline | None:
    """The newest judgement's FID, or else its first metric; without judgements the best validation, of which
    `doubt` says why it is biased."""
    files = {row.file for table in tables for row in table.rows}
    if files:
        newest = max(files, key=lambda name: ((folder.judgements / name).stat().st_mtime_ns, name))
        rows = [row for table in tables for row in table.rows if row.file == newest]
        return _of_score(next((row for row in rows if row.judgement.metric == "fid"), rows[0]))
    return _of_validation(recipe, log, doubt)


def _of_score(row: Row) -> Headline:
    score = row.judgement
    protocol = score.protocol
    at = AT.findall(protocol.images)[-1:]
    value = f"{row.value} ({row.interval})" if row.interval else row.value
    return Headline(
        label(score.metric),
        value,
        f"floor {row.floor[0]}" if row.floor else "floor not measured",
        f"{protocol.sample_count:,} images, {protocol.extractor} features, {(at or [protocol.images])[0]}",
        _against_floor(row, row.floor[1]) if row.floor else (*_meaning(score.metric), NO_FLOOR),
        protocol.unfair or "",
    )


def _of_validation(recipe: Recipe, log: Sequence[Mapping[str, Any]], doubt: str) -> Headline | None:
    metric = recipe.validation.metric
    points = [line for line in log if isinstance(line.get(metric), int | float)]
    if not points or not metric_direction(metric):
        return None
    best = points[best_place(metric, [float(line[metric]) for line in points])]
    validation = recipe.validation
    return Headline(
        label(metric),
        known(float(best[metric])),
        "floor not measured",
        f"best validation, at {best['images']:,} images; {validation.num_samples:,} samples, "
        f"{validation.extractor} features",
        (*_meaning(metric), NO_FLOOR),
        doubt,
    )


def _meaning(metric: str) -> tuple[str, ...]:
    direction = {-1: "Lower is better.", 1: "Higher is better."}.get(metric_direction(metric), "")
    summary = METRICS[metric].summary if metric in METRICS else ""
    sentence = MEANINGS.get(metric, f"{summary}." if summary else "")
    return tuple(text for text in (direction, sentence) if text)


def _against_floor(row: Row, count: str) -> tuple[str, ...]:
    """The value in terms of the floor, for a metric that is lower for better images."""
    floor, better = float(row.judgement.details["real_v_real"]), metric_direction(row.judgement.metric)
    if better >= 0 or floor <= 0:
        return (
            *_meaning(row.judgement.metric),
            f"The floor is the score of real images against real ones, {count}.",
        )
    ratio = row.judgement.value / floor
    place = f"{ratio:,.1f} times the floor" if ratio > CLOSE else "at the floor"
    fewer = row.judgement.details["real_v_real_count"] < row.judgement.protocol.sample_count
    note = "; fewer images raise it" if fewer else ""
    return (
        f"Lower is better. This is {place}, which is the score of real images against real ones "
        f"({count}{note}).",
    )


def commands(folder: RunDir, about: Mapping[str, Any], is_over: bool, tables: Sequence[Table]) -> Commands:
    """What to type next: resume what is not over, then judge, then draw images."""
    place, run = _place(folder.path)
    data = shlex.quote(_from(place, Path(about["data"]["path"])))
    quoted, recipe = shlex.quote(run), shlex.quote(str(Path(run) / folder.recipe_file.name))
    resume = ("Resume", f"kennel train {recipe} --data {data} --out {quoted}")
    judge = ("Judge, with the floor", f"kennel judge {quoted} --reference {data} --reference-split")
    sample = ("Draw new samples", f"kennel sample {quoted} --count 64 --seed 1000")
    following = resume if not is_over else judge if not tables else sample
    again = ("Write this page again", f"kennel report {quoted}")
    return Commands(str(place), following, (resume, sample, judge, again))


def _place(run: Path) -> tuple[Path, str]:
    """The folder in which to type, and the run's path from there."""
    whole, here = run.resolve(), Path.cwd()
    if whole != here and whole.is_relative_to(here):
        return here, str(whole.relative_to(here))
    return whole.parent, whole.name


def _from(place: Path, path: Path) -> str:
    """A path from `place`, if it is below it."""
    whole = path.resolve()
    return str(whole.relative_to(place)) if whole.is_relative_to(place) else str(path)
