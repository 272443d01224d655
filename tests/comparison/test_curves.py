"""Validation curves: which share a chart, and what a band over seeds is."""

import re

import pytest

from kennel.comparison.curves import charts_of
from kennel.comparison.plots import axes_of, chart_svgs, legend
from kennel.comparison.runs import read_runs
from kennel.reporting.ticks import time_ticks

LOG = [{"images": 100, "seconds": 1.0, "fid": 50.0}, {"images": 200, "seconds": 2.0, "fid": 30.0}]


def _log(*values: float, seconds: bool = True) -> list[dict[str, float]]:
    lines = [{"images": 100 * (place + 1), "fid": value} for place, value in enumerate(values)]
    return [{**line, "seconds": line["images"] / 50} for line in lines] if seconds else lines


def test_runs_with_one_protocol_share_a_chart(make_run):
    runs = read_runs([make_run("a", log=LOG), make_run("b", ["batch_size=16"], LOG)])
    (chart,) = charts_of(runs)
    assert [curve.label for curve in chart.curves] == ["a", "b"]
    assert chart.curves[0].images == (100, 200)
    assert chart.curves[0].values == (50.0, 30.0)
    assert chart.has_seconds


@pytest.mark.parametrize("setting", ["validation.num_samples=64", "validation.extractor=mobilenet"])
def test_other_protocols_have_charts_of_their_own(make_run, setting):
    charts = charts_of(read_runs([make_run("a", log=LOG), make_run("b", [setting], LOG)]))
    assert [len(chart.curves) for chart in charts] == [1, 1]


def test_other_sets_have_charts_of_their_own(make_run):
    runs = read_runs([make_run("a", log=LOG), make_run("b", log=LOG, fingerprint="other")])
    assert [len(chart.curves) for chart in charts_of(runs)] == [1, 1]


def test_seeds_become_their_mean_with_the_range_between_them(make_run):
    runs = read_runs(
        [
            make_run("a", ["seed=0"], _log(50, 30, 20)),
            make_run("b", ["seed=1"], _log(60, 40, 30)),
            make_run("c", ["seed=2"], _log(70, 20)),
        ]
    )
    (chart,) = charts_of(runs)
    (curve,) = chart.curves
    assert curve.seeds == 3
    assert curve.images == (100, 200)  # as far as all of them came
    assert curve.values == pytest.approx((60, 30))
    assert (curve.low, curve.high) == ((50, 20), (70, 40))
    assert curve.label == "digits (3 seeds)"


def test_without_seconds_in_every_log_there_is_no_axis_of_seconds(make_run):
    runs = read_runs(
        [make_run("a", log=_log(3, 2)), make_run("b", ["batch_size=16"], _log(3, 2, seconds=False))]
    )
    (chart,) = charts_of(runs)
    assert not chart.has_seconds
    assert axes_of(chart) == ("images",)
    assert len(chart_svgs(chart, "chart")) == 1


def test_lines_without_a_value_and_values_that_are_no_number_are_left_out(make_run):
    log = [{"images": 50}, *LOG, {"images": 300, "fid": True}]
    (chart,) = charts_of(read_runs([make_run("a", log=log), make_run("b", ["batch_size=16"], LOG)]))
    assert chart.curves[0].images == (100, 200)


def test_the_chart_is_svg_whose_colors_the_page_sets_and_whose_points_have_words(make_run):
    runs = read_runs([make_run("a$b_c$", log=LOG), make_run("b", ["batch_size=16"], LOG)])
    (chart,) = charts_of(runs)
    images, seconds = chart_svgs(chart, "chart-1")
    assert images.startswith("<svg ")
    assert "var(--series-1, #0072B2)" in images
    assert "<title>a$b_c$: 30.00 at 200 images, 2 s</title>" in images
    assert "images seen</text>" in images
    assert "training time</text>" in seconds
    assert legend(chart) == [
        ("a$b_c$", "var(--series-1, #0072B2)", ""),
        ("b", "var(--series-2, #D55E00)", ""),
    ]
    assert [images, seconds] == chart_svgs(chart, "chart-1")


@pytest.mark.parametrize(
    ("longest", "ticks"),
    [
        (50.0, [0, 10, 20, 30, 40, 50]),
        (1800.0, [0, 300, 600, 900, 1200, 1500, 1800]),
        (14_400.0, [0, 3600, 7200, 10800, 14400]),
    ],
)
def test_ticks_of_time_are_whole_seconds_minutes_or_hours(longest, ticks):
    assert time_ticks(longest) == ticks


def test_ids_of_two_charts_in_a_page_differ(make_run):
    chart = charts_of(read_runs([make_run("a", log=LOG), make_run("b", ["batch_size=16"], LOG)]))[0]
    found = [re.findall(r' id="([^"]+)"', "".join(chart_svgs(chart, name))) for name in ("x", "y")]
    assert len(found[0]) == len(set(found[0])) > 0
    assert not set(found[0]) & set(found[1])
