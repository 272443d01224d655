"""A comparison as one HTML page that needs nothing else: no network and no other file."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kennel.comparison.plots import chart_svgs, legend
from kennel.comparison.result import Comparison
from kennel.images import png_bytes, tile
from kennel.reporting.pictures import SMALL_SIDE, PictureBudget
from kennel.reporting.templates import render

MAX_GRID = 300_000
"""Bytes of a run's grid in the page."""


@dataclass(frozen=True)
class Part:
    """One comparison of a page, under its heading; `notes` are sentences of its own."""

    heading: str
    comparison: Comparison | None
    notes: Sequence[str] = ()


def page(parts: Sequence[Part], title: str, introduction: Sequence[str] = ()) -> str:
    """The page's HTML. Pictures that are heavy are scaled down, so that it stays light."""
    budget = PictureBudget()
    return render(
        "comparison/comparison.html.jinja",
        title=title,
        introduction=introduction,
        parts_shown=[_content(part, number, budget) for number, part in enumerate(parts, 1)],
    )


def _content(part: Part, number: int, budget: PictureBudget) -> dict[str, Any]:
    """What the template shows of one comparison."""
    found = part.comparison
    if found is None:
        none: list[Any] = []
        return {
            **{"heading": part.heading, "notes": part.notes, "seeds": ""},
            **{"grids": none, "charts": none, "tables": none},
        }
    grids = [
        {
            "title": title,
            "at": f"{found.at[label]:,} images",
            "uri": embedded.uri,
            "is_small": found.samples[label].shape[-1] < SMALL_SIDE,
        }
        for label, title in found.shown()
        if (embedded := budget.add(png_bytes(tile(found.samples[label])), MAX_GRID)) is not None
    ]
    charts = [
        {
            "title": chart.title,
            "svgs": chart_svgs(chart, f"chart-{number}-{place}"),
            "legend": legend(chart),
            "direction": chart.direction,
        }
        for place, chart in enumerate(found.charts, 1)
    ]
    count = len(next(iter(found.samples.values())))
    return {
        "heading": part.heading,
        "notes": [*part.notes, *found.notes],
        "seeds": f"{found.seed} to {found.seed + count - 1}",
        "grids": grids,
        "charts": charts,
        "tables": found.tables(),
    }
