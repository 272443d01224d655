"""Tables of a comparison as Markdown, CSV and LaTeX, and as rows for a terminal or a page."""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from kennel.comparison.runs import ComparedRun, recipe_differences
from kennel.comparison.scores import ScoreTable
from kennel.evaluation.metrics.base import METRICS
from kennel.reporting.format import duration, figure, short_count

ARROWS = {"lower": "↓", "higher": "↑", "neither": ""}


@dataclass(frozen=True)
class Table:
    """Cells as text; the first column names the rows. `bold` are the places (row, column) of best values."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    bold: frozenset[tuple[int, int]] = frozenset()
    notes: tuple[str, ...] = field(default=())

    def to_markdown(self) -> str:
        """A GitHub table under a heading; best values in bold."""
        lines = [f"### {self.title}", "", _markdown_row(self.columns), "|" + "---|" * len(self.columns)]
        for number, row in enumerate(self.rows):
            cells = [
                f"**{cell}**" if (number, place) in self.bold else cell for place, cell in enumerate(row)
            ]
            lines.append(_markdown_row(cells))
        return "\n".join([*lines, "", *(f"{note}\n" for note in self.notes)])

    def to_csv(self) -> str:
        """A header and the rows, without the title."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows(self.rows)
        return text.getvalue()

    def to_latex(self) -> str:
        """A `table` with a `tabular` in the style of booktabs, to be used with `\\usepackage{booktabs}`."""
        lines = [
            r"\begin{table}",
            rf"\caption{{{_latex(self.title)}}}",
            r"\begin{tabular}{l" + "r" * (len(self.columns) - 1) + "}",
            r"\toprule",
            " & ".join(map(_latex, self.columns)) + r" \\",
            r"\midrule",
        ]
        for number, row in enumerate(self.rows):
            cells = [
                rf"\textbf{{{_latex(cell)}}}" if (number, place) in self.bold else _latex(cell)
                for place, cell in enumerate(row)
            ]
            lines.append(" & ".join(cells) + r" \\")
        lines += [r"\bottomrule", r"\end{tabular}", *(f"% {note}" for note in self.notes), r"\end{table}"]
        return "\n".join(lines) + "\n"


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def _latex(text: str) -> str:
    """The text with LaTeX's special characters escaped, and the arrows and dashes as commands."""
    escaped = re.sub(r"([&%$#_{}])", r"\\\1", text.replace("\\", r"\textbackslash "))
    symbols = {
        "↓": r"$\downarrow$",
        "↑": r"$\uparrow$",
        "–": "--",
        "~": r"\textasciitilde ",
        "×": r"$\times$",
    }
    for symbol, command in symbols.items():
        escaped = escaped.replace(symbol, command)
    return escaped


def score_table(scores: ScoreTable, runs: Sequence[ComparedRun], title: str = "Scores") -> Table:
    """A row for each run and a column for each metric, the halves of the reference first where measured."""
    metrics = scores.metrics
    rows: list[tuple[str, ...]] = []
    values: list[list[float | None]] = []
    if scores.floor:
        rows.append((scores.floor_label, *(figure(scores.floor.get(name)) for name in metrics)))
        values.append([None] * len(metrics))
    for run in runs:
        found = scores.scores.get(run.label, {})
        rows.append((run.label, *(figure(found[name].value) if name in found else "–" for name in metrics)))
        values.append([found[name].value if name in found else None for name in metrics])
    columns = ("", *metric_columns(metrics))
    bold = best_places(metrics, values)
    return Table(title, columns, tuple(rows), bold, (scores.protocol, *scores.warnings))


def metric_columns(metrics: Sequence[str]) -> list[str]:
    """Their labels with an arrow to the better side."""
    return [f"{METRICS[name].label} {ARROWS[METRICS[name].direction]}".strip() for name in metrics]


def best_places(
    metrics: Sequence[str], values: Sequence[Sequence[float | None]], first_column: int = 1
) -> frozenset[tuple[int, int]]:
    """(row, column) of the best value of each metric; None is no value."""
    best = set()
    for place, name in enumerate(metrics):
        known = [(row[place], number) for number, row in enumerate(values) if row[place] is not None]
        if METRICS[name].direction != "neither" and len(known) > 1:
            pick = min if METRICS[name].direction == "lower" else max
            top = pick(value for value, _ in known if value is not None)
            best |= {(number, place + first_column) for value, number in known if value == top}
    return frozenset(best)


def difference_table(scores: ScoreTable) -> Table | None:
    """Each run's difference from the first by metric, with its interval; None without any."""
    if not scores.differences:
        return None
    first = next(iter(scores.scores))
    labels = list(dict.fromkeys(one.label for one in scores.differences))
    metrics = list(dict.fromkeys(one.metric for one in scores.differences))
    by_place = {(one.label, one.metric): one for one in scores.differences}
    rows, bold = [], set()
    for number, label in enumerate(labels):
        cells = [label]
        for place, metric in enumerate(metrics):
            one = by_place.get((label, metric))
            if one is None:
                cells.append("–")
                continue
            text = signed(one.value)
            if one.interval is not None:
                text += f" ({signed(one.interval[0])} to {signed(one.interval[1])})"
            if one.is_clear:
                bold.add((number, place + 1))
            cells.append(text)
        rows.append(tuple(cells))
    note = (
        "95% intervals of the sampling noise, paired by the reference images; bold where 0 is outside. They "
        "do not cover the differences between training seeds."
    )
    columns = ("", *(METRICS[name].label for name in metrics))
    return Table(f"Difference from {first}", columns, tuple(rows), frozenset(bold), (note,))


def signed(value: float) -> str:
    """A difference with its sign and the digits that matter."""
    digits = f"{abs(value):,.1f}" if abs(value) >= 10 else f"{abs(value):.2g}"
    return ("+" if value > 0 else "−" if value < 0 else "") + digits


def cost_table(runs: Sequence[ComparedRun], parameters: dict[str, tuple[int, int]]) -> Table:
    """What each run took; `parameters` by label: generator's and discriminator's.

    Columns in which all runs are equal, other than those of cost, become a note below.
    """
    columns: dict[str, list[str]] = {
        "recipe": [run.recipe.name for run in runs],
        "seed": [str(run.recipe.seed) for run in runs],
        "data set": [run.set_name for run in runs],
        "status": [run.status for run in runs],
    }
    equal = {name: cells[0] for name, cells in columns.items() if len(set(cells)) == 1}
    columns = {name: cells for name, cells in columns.items() if name not in equal}
    columns |= {
        "images seen": [f"{run.images:,}" for run in runs],
        "time": ["–" if run.seconds is None else duration(run.seconds) for run in runs],
        "images/s": [_speed(run.images_per_second) for run in runs],
        "parameters G": [short_count(parameters[run.label][0]) for run in runs],
        "D": [short_count(parameters[run.label][1]) for run in runs],
    }
    rows = tuple(zip([run.label for run in runs], *columns.values(), strict=True))
    notes = (f"All: {', '.join(f'{name} {value}' for name, value in equal.items())}.",) if equal else ()
    return Table("Runs", ("", *columns), rows, notes=notes)


def _speed(images_per_second: float | None) -> str:
    if images_per_second is None:
        return "–"
    return f"{images_per_second:,.1f}" if images_per_second < 100 else f"{images_per_second:,.0f}"


def recipe_table(runs: Sequence[ComparedRun]) -> Table | None:
    """The settings in which the recipes differ, a column for each run; None where they are equal."""
    rows = [(key, *(_setting(key, value) for value in values)) for key, values in recipe_differences(runs)]
    return Table("Settings that differ", ("", *(run.label for run in runs)), tuple(rows)) if rows else None


def _setting(key: str, value: object) -> str:
    if value is None:
        return "off" if key.startswith("techniques.") and key.count(".") == 1 else "–"
    return _plain(value)


def _plain(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(_plain, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)
