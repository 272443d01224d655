"""A comparison as one HTML page that needs nothing else: no network and no other file."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined

import kennel
from kennel.comparison.plots import SERIES, chart_svgs, legend
from kennel.comparison.result import Comparison
from kennel.images import png_bytes, tile
from kennel.reporting.html import data_uri, reduced


@dataclass(frozen=True)
class Part:
    """One comparison of a page, under its heading; `notes` are sentences of its own."""

    heading: str
    comparison: Comparison | None
    notes: Sequence[str] = ()


def page(parts: Sequence[Part], title: str, introduction: Sequence[str] = ()) -> str:
    """The page's HTML. Pictures that are heavy are scaled down, so that it stays light."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = files("kennel.comparison").joinpath("comparison.html.jinja").read_text(encoding="utf-8")
    return environment.from_string(template).render(
        title=title,
        introduction=introduction,
        parts=[_content(part, number) for number, part in enumerate(parts, 1)],
        series=list(enumerate(SERIES, 1)),
        version=kennel.__version__,
    )


def _content(part: Part, number: int) -> dict[str, Any]:
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
            "uri": data_uri(reduced(png_bytes(tile(found.samples[label])))),
        }
        for label, title in found.shown()
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
