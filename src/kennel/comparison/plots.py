"""Charts of a comparison: each metric over images and over seconds, next to each other, as SVG."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, MaxNLocator

from kennel.comparison.curves import Axis, Chart, Curve
from kennel.reporting.format import duration, figure, short_count
from kennel.reporting.plots import COLORS, DARK, DOTS_PER_INCH, GRAY, LIGHT, LOG_SCALE_FROM, SILVER
from kennel.reporting.svg import inline_svg

SERIES = (*COLORS, "#7F7F7F", "#8C564B", "#17BECF", "#BCBD22")
"""The colors of the curves; further ones begin again with dashes."""
DASHES = ("solid", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)))
MAX_POINTS = 600
"""Points that can be hovered over; a page with more would be slow."""
CSS = {
    DARK: "--ink",
    GRAY: "--soft",
    LIGHT: "--line",
    SILVER: "--line",
    **{color: f"--series-{number}" for number, color in enumerate(SERIES, 1)},
}


def chart_svgs(chart: Chart, name: str) -> list[str]:
    """The chart as inline SVGs: over images and, where all runs logged their time, over seconds."""
    drawn = []
    for axis in axes_of(chart):
        titles: dict[str, str] = {}
        drawn.append(inline_svg(draw_chart(chart, axis, titles), f"{name}-{axis}", CSS, titles))
    return drawn


def axes_of(chart: Chart) -> tuple[Axis, ...]:
    """What the chart is drawn over."""
    return ("images", "seconds") if chart.has_seconds else ("images",)


def legend(chart: Chart) -> list[tuple[str, int, bool]]:
    """(label, number of its color from 1 on, whether it is dashed) of every curve."""
    count = len(SERIES)
    return [(one.label, place % count + 1, place >= count) for place, one in enumerate(chart.curves)]


def draw_chart(chart: Chart, axis: Axis, titles: dict[str, str] | None = None) -> Figure:
    """The chart over one axis; `titles` collects what hovering over the points says, by their gid."""
    paper = Figure(
        figsize=(5.0, 3.4),
        dpi=DOTS_PER_INCH,
        facecolor="white",
        layout=ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.06),
    )
    hover = sum(len(curve.images) for curve in chart.curves) <= MAX_POINTS
    _draw(paper.subplots(), chart, axis, titles if hover else None)
    return paper


def _draw(axes: Axes, chart: Chart, axis: Axis, titles: dict[str, str] | None) -> None:
    axes.tick_params(which="both", colors=GRAY, labelsize=9.5, length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(SILVER)
    axes.grid(axis="y", color=LIGHT, linewidth=0.9)
    axes.set_axisbelow(True)
    for number, curve in enumerate(chart.curves):
        _draw_curve(axes, chart, curve, number, axis, titles)
    axes.set_xlim(0, max(max(curve.over(axis), default=0.0) for curve in chart.curves) * 1.02 or 1)
    axes.set_xlabel("images seen" if axis == "images" else "training time", fontsize=10, color=GRAY)
    axes.xaxis.set_major_locator(MaxNLocator(6) if axis == "images" else TimeLocator())
    words = short_count if axis == "images" else _time
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, place: words(value)))
    _scale(axes, chart.curves)
    axes.set_ylabel(chart.title.split(",")[0].removeprefix("Validation "), fontsize=10, color=GRAY)


def _draw_curve(
    axes: Axes, chart: Chart, curve: Curve, number: int, axis: Axis, titles: dict[str, str] | None
) -> None:
    color = SERIES[number % len(SERIES)]
    style: dict[str, Any] = {"color": color, "linestyle": DASHES[number // len(SERIES) % len(DASHES)]}
    where = curve.over(axis)
    axes.plot(where, curve.values, linewidth=1.8, zorder=3, **style)
    if curve.low:
        axes.fill_between(where, curve.low, curve.high, color=color, alpha=0.15, linewidth=0, zorder=2)
    for place, (x, y) in enumerate(zip(where, curve.values, strict=True)):
        gid = f"{axis}-{number}-{place}"
        axes.plot([x], [y], "o", color=color, markersize=4, zorder=4, gid=gid if titles is not None else None)
        if titles is not None:
            seconds = f", {duration(curve.seconds[place])}" if curve.seconds else ""
            titles[gid] = f"{curve.label}: {figure(y)} at {curve.images[place]:,.0f} images{seconds}"


def _scale(axes: Axes, curves: Sequence[Curve]) -> None:
    values = [value for curve in curves for value in (*curve.values, *curve.low, *curve.high)]
    lowest, highest = min(values), max(values)
    if lowest > 0 and highest / lowest > LOG_SCALE_FROM:
        axes.set_yscale("log")
        axes.yaxis.set_minor_formatter(FuncFormatter(lambda value, place: ""))
    elif lowest >= 0:
        axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, place: short_count(value)))


class TimeLocator(MaxNLocator):
    """Ticks at whole seconds, minutes or hours, by the length of the axis."""

    def __init__(self) -> None:
        super().__init__(6, integer=True, steps=[1, 2, 5, 10])

    def tick_values(self, vmin: float, vmax: float) -> Any:
        unit = 3600 if vmax >= 2 * 3600 else 60 if vmax >= 120 else 1
        return np.asarray(super().tick_values(vmin / unit, vmax / unit)) * unit


def _time(seconds: float) -> str:
    if seconds >= 7200:
        return f"{seconds / 3600:.3g} h"
    return f"{seconds / 60:.3g} min" if seconds >= 60 else f"{seconds:.3g} s"
