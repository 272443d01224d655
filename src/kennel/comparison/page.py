"""A comparison as one HTML page that needs nothing else: no network and no other file."""

from importlib.resources import files

from jinja2 import Environment, StrictUndefined

import kennel
from kennel.comparison.compared import Comparison
from kennel.comparison.plots import SERIES, chart_svg
from kennel.images import png_bytes, tile
from kennel.reporting.html import data_uri, lightened


def page(comparison: Comparison) -> str:
    """The page's HTML. Pictures that are heavy are scaled down, so that it stays light."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = files("kennel.comparison").joinpath("comparison.html.jinja").read_text(encoding="utf-8")
    grids = [
        {
            "title": run.label,
            "at": f"{comparison.at[run.label]:,} images",
            "uri": data_uri(lightened(png_bytes(tile(comparison.samples[run.label])))),
        }
        for run in comparison.runs
        if run.label in comparison.samples
    ]
    charts = [
        {"title": chart.title, "svg": chart_svg(chart, f"chart-{number}"), "direction": chart.direction}
        for number, chart in enumerate(comparison.charts, 1)
    ]
    return environment.from_string(template).render(
        labels=[run.label for run in comparison.runs],
        grids=grids,
        charts=charts,
        tables=comparison.tables(),
        notes=comparison.notes,
        series=list(enumerate(SERIES, 1)),
        seeds=f"{comparison.seed} to {comparison.seed + len(next(iter(comparison.samples.values()))) - 1}",
        version=kennel.__version__,
    )
