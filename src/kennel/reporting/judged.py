"""What the page shows of judgements besides their tables: pairs, curves, classes and pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from kennel.evaluation.score import Score
from kennel.reporting.charts import LineChart, Series, chart_svg, series_color
from kennel.reporting.copied_pairs import ShownPair, pairs_of
from kennel.reporting.format import class_name, known
from kennel.reporting.pictures import Embedded, PictureBudget
from kennel.reporting.run_charts import DrawnChart
from kennel.reporting.score_tables import JudgingPicture, Table, judging_pictures
from kennel.reporting.ticks import linear_ticks
from kennel.runs.run_dir import RunDir

MAX_PAIRS = 8


@dataclass(frozen=True)
class ClassBar:
    """The FID of a class: its number and name as `kennel data show` has them, and the share of the worst."""

    number: int | None
    name: str
    value: str
    share: int | float


@dataclass(frozen=True)
class Judged:
    """A table of the page with what belongs to it."""

    table: Table
    pairs: Sequence[ShownPair]
    pairs_file: str
    charts: Sequence[DrawnChart]
    bars: Sequence[ClassBar]
    pictures: Sequence[tuple[JudgingPicture, Embedded]]


def judged(
    folder: RunDir, tables: Sequence[Table], classes: Sequence[str], budget: PictureBudget
) -> list[Judged]:
    """Each table with the pairs, charts and bars of its newest judgements.

    Pictures are those that cannot be drawn from the judgements' details.
    """
    shown = judging_pictures(folder.judgements, tables)
    return [
        _judged(table, pictures, classes, budget, number)
        for number, (table, pictures) in enumerate(zip(tables, shown, strict=True), 1)
    ]


def _judged(
    table: Table,
    pictures: Sequence[JudgingPicture],
    classes: Sequence[str],
    budget: PictureBudget,
    number: int,
) -> Judged:
    newest = {row.judgement.metric: row.judgement for row in table.rows}
    charts = [chart for metric in ("prd_f8", "prd_f1_8") if (chart := _prd(newest.get(metric), number))][:1]
    bars = _bars(newest.get("fid_by_class"), classes)
    pairs: list[ShownPair] = []
    pairs_file, left = "", []
    for picture in pictures:
        if picture.name == "memorisation" and (pairs := pairs_of(picture.path, budget)[:MAX_PAIRS]):
            pairs_file = picture.path.name
        elif not (picture.name == "precision_recall" and charts) and not (
            picture.name == "fid_by_class" and bars
        ):
            left.append(picture)
    embedded = [(picture, found) for picture in left if (found := budget.embed(picture.path)) is not None]
    return Judged(table, pairs, pairs_file, charts, bars, embedded)


def _prd(score: Score | None, number: int) -> DrawnChart | None:
    """The precision-recall curve of a PRD judgement (Sajjadi et al. 2018)."""
    if score is None:
        return None
    curve = score.details.get("curve")
    if not isinstance(curve, Mapping):
        return None
    recall, precision = (_shares(curve.get(side)) for side in ("recall", "precision"))
    if not recall or len(recall) != len(precision):
        return None
    words = [f"recall {x:.2f}, precision {y:.2f}" for x, y in zip(recall, precision, strict=True)]
    equal = Series(
        "equal distributions", (0.0, 1.0, 1.0), (1.0, 1.0, 0.0), "var(--soft, #56616e)", dash="5 3"
    )
    series = [equal, Series("this run", recall, precision, series_color(0), words)]
    chart = LineChart(
        series, "recall", lambda x: f"{x:.1f}", "precision", limits=(0, 1), x_ticks=partial(linear_ticks, 0.0)
    )
    title = "Precision and recall (PRD)"
    legend = [(one.label, one.color, one.dash) for one in reversed(series)]
    caption = (
        "Precision is the share of these images that is realistic, recall of the reference that is covered."
    )
    return DrawnChart(title, chart_svg(chart, f"prd-{number}", title), legend, caption)


def _shares(values: object) -> list[float]:
    """Numbers from 0 to 1 of a judgement's file; empty if one is something else."""
    if not isinstance(values, Sequence) or isinstance(values, str):
        return []
    found = [float(value) for value in values if isinstance(value, int | float) and 0 <= value <= 1]
    return found if len(found) == len(values) else []


def _bars(score: Score | None, classes: Sequence[str]) -> list[ClassBar]:
    """The classes' FIDs, the worst first."""
    entries = [] if score is None else score.details.get("classes")
    if not isinstance(entries, list):
        return []
    found = [pair for entry in entries if (pair := _class_and_fid(entry)) is not None]
    numbers = {name: number for number, name in enumerate(classes)}
    highest = max((value for _, value in found), default=0) or 1.0
    return [
        ClassBar(numbers.get(name), class_name(name), known(value), max(0.0, value / highest))
        for name, value in sorted(found, key=lambda pair: -pair[1])
    ]


def _class_and_fid(entry: Any) -> tuple[str, float] | None:
    if not isinstance(entry, Mapping) or not isinstance(entry.get("fid"), int | float):
        return None
    return str(entry.get("class", "")), float(entry["fid"])
