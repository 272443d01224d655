"""Charts of a comparison: each metric over images and over seconds, next to each other, as SVG."""

from kennel.comparison.curves import Axis, Chart, Curve
from kennel.reporting.charts import LineChart, Series, chart_svg, series_color, series_dash
from kennel.reporting.format import duration, figure, short_count
from kennel.reporting.panels import LOG_SCALE_FROM
from kennel.reporting.ticks import count_ticks, time_ticks, time_words

MAX_POINTS = 600
"""Points that can be hovered over; a page with more would be slow."""


def chart_svgs(chart: Chart, name: str) -> list[str]:
    """The chart as inline SVGs: over images and, where all runs logged their time, over seconds."""
    return [chart_svg(line_chart(chart, axis), f"{name}-{axis}", chart.title) for axis in axes_of(chart)]


def axes_of(chart: Chart) -> tuple[Axis, ...]:
    """What the chart is drawn over."""
    return ("images", "seconds") if chart.has_seconds else ("images",)


def legend(chart: Chart) -> list[tuple[str, str, str]]:
    """(label, CSS color, dashes) of every curve."""
    return [(one.label, series_color(place), series_dash(place)) for place, one in enumerate(chart.curves)]


def line_chart(chart: Chart, axis: Axis) -> LineChart:
    """The chart over one axis."""
    values = [value for curve in chart.curves for value in (*curve.values, *curve.low, *curve.high)]
    hover = sum(len(curve.images) for curve in chart.curves) <= MAX_POINTS
    is_time = axis == "seconds"
    return LineChart(
        [_series(curve, number, axis, hover) for number, curve in enumerate(chart.curves)],
        "training time" if is_time else "images seen",
        time_words if is_time else short_count,
        chart.title.split(",")[0].removeprefix("Validation "),
        log=min(values) > 0 and max(values) / min(values) > LOG_SCALE_FROM,
        x_ticks=time_ticks if is_time else count_ticks,
    )


def _series(curve: Curve, number: int, axis: Axis, hover: bool) -> Series:
    words = [_words(curve, place) for place in range(len(curve.images))] if hover else []
    return Series(
        curve.label,
        curve.over(axis),
        curve.values,
        series_color(number),
        words,
        series_dash(number),
        low=curve.low,
        high=curve.high,
    )


def _words(curve: Curve, place: int) -> str:
    seconds = f", {duration(curve.seconds[place])}" if curve.seconds else ""
    return f"{curve.label}: {figure(curve.values[place])} at {curve.images[place]:,.0f} images{seconds}"
