"""A chart has every curve, its extremes, and the words of its points; names in it are text."""

import re
import xml.etree.ElementTree as ET

from kennel.reporting.charts import MAX_DRAWN, AlarmLine, LineChart, Series, chart_svg
from kennel.reporting.ticks import time_ticks


def parsed(chart: LineChart) -> ET.Element:
    return ET.fromstring(chart_svg(chart, "one", "a chart"))


def chart(values: list[float], **options: object) -> LineChart:
    places = [10 * place for place in range(len(values))]
    words = [f"<{value}>" for value in values]
    series = [Series("a & b", places, values, "var(--series-1, #0072B2)", words)]
    return LineChart(series, "images", str, **options)


def test_points_say_their_values_and_names_are_text():
    svg = parsed(chart([1.0, 3.0, 2.0], y_label="<script>"))
    titles = [one.text for one in svg.iter("title")]
    assert titles == ["<1.0>", "<3.0>", "<2.0>"]
    assert "<script>" in [one.text for one in svg.iter("text")]
    assert svg.get("id") == "one"
    assert svg.get("aria-label") == "a chart"


def test_a_long_curve_keeps_its_extremes():
    values = [5.0] * 5000
    values[1234], values[4321] = 9.0, 1.0
    source = chart_svg(chart(values), "one", "")
    (line,) = re.findall(r'class="curve"[^>]* d="M([^"]+)"', source)
    heights = {point.split()[1] for point in line.split("L")}
    assert len(line.split("L")) <= MAX_DRAWN
    assert len(heights) == 3
    assert "&lt;9.0&gt;" in source
    assert "&lt;1.0&gt;" in source


def test_alarms_bands_dashes_and_the_best_point_are_drawn():
    band = Series("b", [0, 10], [1, 2], "red", dash="2 2", low=[0.5, 1], high=[2, 3])
    one = LineChart([band], "t", str, best=(0, 1), alarms=[AlarmLine(20, "▲1", "why")], x_ticks=time_ticks)
    svg = parsed(one)
    assert [text.text for text in svg.iter("text") if text.text == "▲1"] == ["▲1"]
    assert "why" in [title.text for title in svg.iter("title")]
    assert len([circle for circle in svg.iter("circle") if circle.get("class") == "best"]) == 1
    assert sum("opacity" in path.get("style", "") for path in svg.iter("path")) == 1
    assert any("stroke-dasharray: 2 2" in path.get("style", "") for path in svg.iter("path"))


def test_equal_values_zero_and_one_point_are_drawn():
    for values in ([0.0], [5.0, 5.0], [-1.0, -1.0], [0.0, 0.0], [1e-9, 1e9]):
        numbers = re.findall(r'[dcxy]+="[^"]*', chart_svg(chart(values, log=True), "one", ""))
        assert numbers
        assert not any("nan" in one or "inf" in one for one in numbers)
