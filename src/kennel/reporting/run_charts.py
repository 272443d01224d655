"""The charts of a run's page: its log's panels, its spectra and the curves of judgements, as inline SVG."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from kennel.engine.singular_values import Spectrum
from kennel.reporting.charts import AlarmLine, LineChart, Series, chart_svg, series_color, series_dash
from kennel.reporting.format import known, label, short_count
from kennel.reporting.panels import LOG_SCALE_FROM, Line, Panel
from kennel.reporting.spectra_plot import MAX_NAMED, History, panels_of_spectra

FIRST_HUE, LAST_HUE = 225, -15
"""Degrees of the colors of a network's first and last layer."""
VALUE_DASHES = ("", "5 3", "1.5 2")
OTHERS = "var(--line, #dde2e8)"


@dataclass(frozen=True)
class DrawnChart:
    """A chart with its heading; `legend` are (label, CSS color, dashes), empty for one curve; `caption` is a
    sentence or empty."""

    title: str
    svg: str
    legend: Sequence[tuple[str, str, str]] = ()
    caption: str = ""


@dataclass(frozen=True)
class Alarm:
    """An alarm or a rollback of the page's list; `number` is None for a rollback."""

    heading: str
    text: str
    number: int | None = None


def alarm_list(lines: Sequence[Mapping[str, Any]]) -> list[Alarm]:
    """The lines of `alarms.jsonl` in words; alarms are numbered in their order."""
    found, number = [], 0
    for line in lines:
        at = f"at {line['images']:,} images"
        if "rollback" in line:
            text = f"The run went back to {line['back_to']:,} images and continued with other random draws."
            found.append(Alarm(f"Rollback {line['rollback']} {at}", text))
            continue
        number += 1
        text = f"{line['saw'][0].upper()}{line['saw'][1:]}. It matters: {line['why']}. Try {line['try']}."
        found.append(Alarm(f"{label(line['alarm'])} {at}", text, number))
    return found


def alarm_lines(lines: Sequence[Mapping[str, Any]]) -> tuple[AlarmLine, ...]:
    """A line for each place where alarms rose, labelled with their numbers in `alarm_list`."""
    alarms = [line for line in lines if "alarm" in line]
    numbered = sorted(enumerate(alarms, 1), key=lambda pair: int(pair[1]["images"]))
    found = []
    for images, group in groupby(numbered, key=lambda pair: int(pair[1]["images"])):
        here = list(group)
        numbers = [number for number, _ in here]
        short = f"▲{numbers[0]}" if len(numbers) == 1 else f"▲{numbers[0]}…{numbers[-1]}"
        names = ", ".join(dict.fromkeys(label(line["alarm"]) for _, line in here))
        found.append(AlarmLine(images, short, f"Alarm at {images:,} images: {names}"))
    return tuple(found)


def panel_charts(panels: Sequence[Panel], alarms: Sequence[AlarmLine]) -> list[DrawnChart]:
    """A chart for each panel of the log."""
    return [_panel_chart(panel, alarms, f"curve-{place}") for place, panel in enumerate(panels, 1)]


def _panel_chart(panel: Panel, alarms: Sequence[AlarmLine], name: str) -> DrawnChart:
    values = [value for line in panel.lines for value in line.values]
    wide = min(values) > 0 and max(values) / min(values) > LOG_SCALE_FROM
    log = min(values) > 0 and (panel.kind == "gradient" or (panel.kind == "metric" and wide))
    chart = LineChart(
        [_series(line, number, len(panel.lines) > 1) for number, line in enumerate(panel.lines)],
        "images shown",
        short_count,
        log=log,
        limits={"probability": (0.0, 1.0), "speed": (0.0, max(values) * 1.1 or 1.0)}.get(panel.kind),
        rule=0.5 if panel.kind == "probability" else None,
        best=None if panel.best is None else (0, panel.best),
        alarms=alarms,
    )
    title = panel.title.removesuffix(", log scale").replace(r"\$", "$")
    legend = [
        (f"{_plain(line)} {known(line.values[-1])}", series_color(place), series_dash(place))
        for place, line in enumerate(panel.lines)
    ]
    caption = f"Newest: {known(panel.lines[0].values[-1])}."
    if panel.best is not None:
        line = panel.lines[0]
        best = f"Best: {known(line.values[panel.best])} at {line.images[panel.best]:,} images"
        caption = f"{best}. {caption}" if panel.best < len(line.values) - 1 else f"{best}, the newest."
    if len(legend) > 1:
        caption = "Values in the legend: the newest."
    if log:
        caption += " Logarithmic."
    return DrawnChart(title, chart_svg(chart, name, title), legend if len(legend) > 1 else (), caption)


def _plain(line: Line) -> str:
    return line.label.replace(r"\$", "$")


def _series(line: Line, number: int, is_named: bool) -> Series:
    name = f"{_plain(line)}: " if is_named else ""
    words = [
        f"{name}{known(value)} at {images:,} images"
        for images, value in zip(line.images, line.values, strict=True)
    ]
    return Series(_plain(line), line.images, line.values, series_color(number), words, series_dash(number))


def spectra_charts(
    spectra: Sequence[Mapping[str, Any]],
    names: Mapping[str, Mapping[str, str]],
    alarms: Sequence[AlarmLine],
) -> list[DrawnChart]:
    """A chart for each network and kind of weights; `names` are those of `layer_names`."""
    charts = []
    for place, (title, history) in enumerate(panels_of_spectra(spectra).items(), 1):
        own = names.get(title.partition(":")[0].lower(), {})
        if history and (series := _layers(history, own)):
            heading = title.removesuffix(", log scale").replace(
                "first three singular values", "singular values"
            )
            positive = all(value > 0 for one in series for value in one.y)
            chart = LineChart(series, "images shown", short_count, log=positive, alarms=alarms)
            legend = [(one.label, one.color, "") for one in series if one.words]
            if others := len(history[-1][1]) - len(legend):
                legend.append((f"{others} others", OTHERS, ""))
            charts.append(DrawnChart(heading, chart_svg(chart, f"spectra-{place}", heading), legend))
    return charts


def _layers(history: History, names: Mapping[str, str]) -> list[Series]:
    """The others' first values in gray, below the named layers in colors from first to last."""
    last = history[-1][1]
    largest = set(sorted(last, key=lambda layer: -last[layer][0])[:MAX_NAMED])
    shown = [layer for layer in last if layer in largest]
    series = [
        Series("", *points, OTHERS, width=1)
        for layer in last
        if layer not in largest and (points := _points(history, layer, 0))[0]
    ]
    for place, layer in enumerate(shown):
        hue = FIRST_HUE + (LAST_HUE - FIRST_HUE) * place / max(1, len(shown) - 1)
        color = f"hsl({hue % 360:.0f} 70% var(--layer, 42%))"
        name = names.get(layer, layer)
        for number, dash in reversed(list(enumerate(VALUE_DASHES[: len(last[layer])]))):
            x, y = _points(history, layer, number)
            words = [f"{name}: {known(value)} at {at:,} images" for at, value in zip(x, y, strict=True)]
            if x:
                width = 2 if number == 0 else 1
                series.append(Series(name, x, y, color, () if number else words, dash, width))
    return series


def _points(
    history: Sequence[tuple[int, Spectrum]], layer: str, number: int
) -> tuple[list[int], list[float]]:
    found = [
        (images, spectrum[layer][number])
        for images, spectrum in history
        if number < len(spectrum.get(layer, ())) and spectrum[layer][number] > 0
    ]
    return [images for images, _ in found], [value for _, value in found]
