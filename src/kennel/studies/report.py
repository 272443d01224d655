"""The files that a study ends in: a page, tables in Markdown, CSV and LaTeX, all figures, and the samples."""

import json
import shlex
from collections.abc import Sequence
from pathlib import Path

import kennel
from kennel.comparison.page import Part, page
from kennel.comparison.result import write_grids
from kennel.storage.atomic_io import write_text
from kennel.studies.config import StudyConfig
from kennel.studies.results import DataResult


def write_results(study: StudyConfig, found: Sequence[DataResult], out: Path) -> list[Path]:
    """Writes `results.html`, `.md`, `.tex`, `.json`, and for each data set `DATA.csv` and `DATA.png`."""
    written = [out / "results.html", out / "results.md", out / "results.tex", out / "results.json"]
    write_text(written[0], page([Part(one.data, one.comparison, one.notes) for one in found], *_head(study)))
    write_text(written[1], _markdown(study, found))
    tables = [table for one in found if one.comparison is not None for table in one.comparison.tables()]
    write_text(written[2], "\n".join(table.to_latex() for table in tables))
    content = {
        "study": study.model_dump(mode="json"),
        "kennel": kennel.__version__,
        "data": {
            one.data: {
                "notes": list(one.notes),
                "comparison": None if one.comparison is None else one.comparison.to_json(),
            }
            for one in found
        },
    }
    write_text(written[3], json.dumps(content, indent=2, allow_nan=False) + "\n")
    for one in found:
        if one.comparison is not None:
            table, picture = out / f"{one.data}.csv", out / f"{one.data}.png"
            write_text(table, one.comparison.tables()[0].to_csv())
            write_grids(one.comparison, picture)
            written += [table, picture]
    return written


def _head(study: StudyConfig) -> tuple[str, list[str]]:
    """The page's title and its first sentences."""
    budget = "the recipe's budget each"
    if study.images is not None:
        budget = f"{study.images:,} images each"
    elif study.hours is not None:
        budget = f"{study.hours:g} hours each"
    seeds = f"{len(study.seeds)} seed{'s' * (len(study.seeds) > 1)}"
    rows = f"{len(study.recipes)} recipes, {seeds}, {budget}."
    return f"Study: {study.name}", [text for text in (study.description, study.paper, rows) if text]


def _markdown(study: StudyConfig, found: Sequence[DataResult]) -> str:
    title, sentences = _head(study)
    lines = [f"# {title}", *sentences]
    for one in found:
        lines.append(f"## {one.data}")
        lines += [f"- {note}" for note in one.notes]
        if one.comparison is not None:
            lines.append(f"![samples of {one.data}]({shlex.quote(one.data)}.png)")
            lines += [f"- {note}" for note in one.comparison.notes]
            lines += [table.to_markdown().strip() for table in one.comparison.tables()]
    lines += [
        "## The study",
        "```yaml\n" + study.to_yaml() + "```",
        f"Written by kennel {kennel.__version__}.",
    ]
    return "\n\n".join(lines) + "\n"
