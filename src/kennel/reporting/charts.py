"""Line charts as SVG inside a page: text stays text, and CSS variables are the colors of both schemes."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape

from kennel.reporting.ticks import Number, count_ticks, linear_ticks, log_ticks, tick_words

SERIES = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00"),
    *("#7F7F7F", "#8C564B", "#17BECF", "#BCBD22"),
)
"""The palette of Okabe and Ito, for color-blind readers, and four more; further curves are dashed."""
DASHES = ("", "6 3", "2 2", "7 3 2 3")
WIDTH, HEIGHT = 380, 244
"""Of a chart, in its own units: about the pixels of a column of the page."""
TOP, BOTTOM, RIGHT, LETTER = 26, 38, 20, 6.3
MAX_HOVER, MAX_DRAWN = 60, 300
"""Points of a curve that have a hover value, and that are drawn; the least and the greatest always are."""


@dataclass(frozen=True)
class Series:
    """A curve. `x` and `y` have equal lengths; so have `words`, which hovering shows, and `low` and `high`,
    the edges of a band, unless they are empty. `color` is any CSS color."""

    label: str
    x: Sequence[Number]
    y: Sequence[Number]
    color: str
    words: Sequence[str] = ()
    dash: str = ""
    width: Number = 2
    low: Sequence[Number] = ()
    high: Sequence[Number] = ()


@dataclass(frozen=True)
class AlarmLine:
    """A vertical line: `label` is written at its top, `words` are shown on hovering."""

    x: Number
    label: str
    words: str


@dataclass(frozen=True)
class LineChart:
    """Curves on common axes. `best` is (series, point) of a marked point; `rule` a dashed horizontal line;
    `limits` fixes the y axis, else it fits the values. `x_ticks` gives the ticks up to the longest x."""

    series: Sequence[Series]
    x_label: str
    x_words: Callable[[Number], str]
    y_label: str = ""
    log: bool = False
    limits: tuple[Number, Number] | None = None
    rule: Number | None = None
    best: tuple[int, int] | None = None
    alarms: Sequence[AlarmLine] = ()
    x_ticks: Callable[[Number], list[float]] = field(default=count_ticks)


def series_color(number: int) -> str:
    """The CSS color of curve `number`, from 0 on; a reader without the variable sees the fallback."""
    place = number % len(SERIES)
    return f"var(--series-{place + 1}, {SERIES[place]})"


def series_dash(number: int) -> str:
    """The dashes of curve `number`: those after the last color begin again with other ones."""
    return DASHES[number // len(SERIES) % len(DASHES)]


def chart_svg(chart: LineChart, name: str, description: str) -> str:
    """The chart as an `<svg>` element of a page, with the id `name`, that fills its container's width."""
    frame = _Frame.around(chart)
    parts = [*_grid(chart, frame)]
    for alarm in chart.alarms:
        parts += _alarm(alarm, frame)
    for one in chart.series:
        parts += _curve(one, frame)
    for one in chart.series:
        parts += _points(one, frame)
    if chart.best is not None:
        one, place = chart.series[chart.best[0]], chart.best[1]
        at = f'cx="{frame.x(one.x[place]):.1f}" cy="{frame.y(one.y[place]):.1f}"'
        parts.append(f'<circle class="best" {at} r="5"><title>best: {_words(one, place)}</title></circle>')
    head = f'<svg id="{escape(name)}" class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"'
    return f'{head} aria-label="{escape(description)}">{"".join(parts)}</svg>'


@dataclass(frozen=True)
class _Frame:
    """From values to places in the chart. `low` and `high` are the ends of the y axis, `last` that of the
    x axis."""

    left: Number
    last: Number
    low: Number
    high: Number
    log: bool
    ticks: list[float]
    words: Callable[[Number], str]

    @classmethod
    def around(cls, chart: LineChart) -> "_Frame":
        values = [y for one in chart.series for y in (*one.y, *one.low, *one.high)]
        log = chart.log and min(values) > 0
        low, high = chart.limits or _room(min(values), max(values), log)
        ticks = log_ticks(low, high) if log else linear_ticks(low, high)
        words = tick_words(ticks)
        ends = [x for one in chart.series for x in one.x] + [one.x for one in chart.alarms]
        left = 12 + LETTER * max(len(words(tick)) for tick in ticks)
        return cls(left, max(ends, default=0) or 1.0, low, high, log, ticks, words)

    def x(self, value: Number) -> float:
        return self.left + (WIDTH - RIGHT - self.left) * value / self.last

    def y(self, value: Number) -> float:
        if self.log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * share


def _room(lowest: Number, highest: Number, log: bool) -> tuple[Number, Number]:
    """Limits around the values, with some room; from 0 on if that costs less than half of the height."""
    if log:
        space = max((highest / lowest) ** 0.06, 1.02)
        return lowest / space, highest * space
    span = (highest - lowest) or abs(highest) or 1.0
    bottom = 0.0 if 0 <= lowest <= span else lowest - 0.08 * span
    return bottom, highest + 0.06 * span


def _grid(chart: LineChart, frame: _Frame) -> list[str]:
    """Horizontal lines, both axes' words and labels."""
    end, foot = WIDTH - RIGHT, HEIGHT - BOTTOM
    parts = []
    for tick in frame.ticks:
        y = frame.y(tick)
        parts.append(f'<path class="rule" d="M{frame.left:.1f} {y:.1f}H{end}"/>')
        words = escape(frame.words(tick))
        parts.append(f'<text x="{frame.left - 6:.1f}" y="{y + 3.8:.1f}" class="end">{words}</text>')
    parts.append(f'<path class="axis" d="M{frame.left:.1f} {foot}H{end}"/>')
    for tick in chart.x_ticks(frame.last):
        words = escape(chart.x_words(tick))
        parts.append(f'<text x="{frame.x(tick):.1f}" y="{foot + 15}" class="middle">{words}</text>')
    parts.append(f'<text x="{end}" y="{HEIGHT - 5}" class="end">{escape(chart.x_label)}</text>')
    if chart.y_label:
        parts.append(f'<text x="2" y="11">{escape(chart.y_label)}</text>')
    if chart.rule is not None:
        parts.append(f'<path class="half" d="M{frame.left:.1f} {frame.y(chart.rule):.1f}H{end}"/>')
    return parts


def _alarm(alarm: AlarmLine, frame: _Frame) -> list[str]:
    x = frame.x(alarm.x)
    title = f"<title>{escape(alarm.words)}</title>"
    line = f'<path d="M{x:.1f} {TOP}V{HEIGHT - BOTTOM}"/>'
    text = f'<text x="{x:.1f}" y="{TOP - 3}" class="middle">{escape(alarm.label)}</text>'
    return [f'<g class="alarm">{title}{line}{text}</g>']


def _curve(one: Series, frame: _Frame) -> list[str]:
    kept = _kept(one.y, MAX_DRAWN)
    parts = []
    if one.low:
        upper = [f"{frame.x(one.x[place]):.1f} {frame.y(one.high[place]):.1f}" for place in kept]
        lower = [f"{frame.x(one.x[place]):.1f} {frame.y(one.low[place]):.1f}" for place in reversed(kept)]
        parts.append(f'<path style="fill: {one.color}; opacity: .16" d="M{"L".join([*upper, *lower])}Z"/>')
    line = "L".join(f"{frame.x(one.x[place]):.1f} {frame.y(one.y[place]):.1f}" for place in kept)
    dash = f"; stroke-dasharray: {one.dash}" if one.dash else ""
    parts.append(
        f'<path class="curve" style="stroke: {one.color}; stroke-width: {one.width:g}{dash}" d="M{line}"/>'
    )
    return parts


def _points(one: Series, frame: _Frame) -> list[str]:
    """Circles that show their value on hovering; the outer, invisible one is easy to meet."""
    if not one.words:
        return []
    parts = [f'<g style="fill: {one.color}">']
    kept = _kept(one.y, MAX_HOVER)
    radius = 2.6 if len(kept) <= 24 else 1.6
    for place in kept:
        at = f'cx="{frame.x(one.x[place]):.1f}" cy="{frame.y(one.y[place]):.1f}"'
        title = f"<title>{_words(one, place)}</title>"
        parts.append(f'<g>{title}<circle {at} r="7" class="hit"/><circle {at} r="{radius}"/></g>')
    return [*parts, "</g>"]


def _words(one: Series, place: int) -> str:
    return escape(one.words[place], quote=False) if one.words else ""


def _kept(values: Sequence[Number], most: int) -> list[int]:
    """Places of all values, or of the least and the greatest of equal pieces, and of both ends."""
    count = len(values)
    if count <= most:
        return list(range(count))
    pieces = most // 2 - 1
    found = {0, count - 1}
    for piece in range(pieces):
        places = range(piece * count // pieces, (piece + 1) * count // pieces)
        found |= {min(places, key=values.__getitem__), max(places, key=values.__getitem__)}
    return sorted(found)
