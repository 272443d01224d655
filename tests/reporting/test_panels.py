"""The curves show what the log holds: all of it, and nothing else."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kennel.reporting import draw_curves
from kennel.reporting.format import class_name, duration, figure, known, metric_direction, short_count
from kennel.reporting.panels import panels_of

LogLine = Callable[..., dict[str, float | None]]


def test_the_figure_is_a_png_that_can_be_read_and_is_not_blank(tmp_path: Path, log_line: LogLine):
    draw_curves([log_line(n * 1000, fid=100.0 / n) for n in (1, 2, 3)], tmp_path / "curves.png", 1797)
    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.format == "PNG"
        assert picture.width == 1800
        assert 900 < picture.height < 1300
        pixels = np.asarray(picture.convert("L"))
    assert (pixels < 128).mean() > 0.005


def test_every_number_of_the_log_is_drawn(log_line: LogLine):
    log = [log_line(1000, mifid=9.0, fid=9.0, distance=0.2, gradient_norm=3.0, penalty_loss=0.1)]
    drawn = {line.name for panel in panels_of(log) for line in panel.lines}
    assert drawn == set(log[0]) - {"images", "seconds"}


def test_validation_comes_first_and_the_players_share_axes(log_line: LogLine):
    panels = panels_of([log_line(1000, fid=9.0)])
    assert [panel.kind for panel in panels] == ["metric", "loss", "probability", "speed"]
    assert [line.name for line in panels[1].lines] == ["discriminator_loss", "generator_loss"]
    assert [line.name for line in panels[2].lines] == ["real_probability", "fake_probability"]


@pytest.mark.parametrize(("metric", "best"), [("fid", 1), ("inception_score", 2)])
def test_the_best_point_is_the_lowest_or_the_highest_as_the_metric_says(
    metric: str, best: int, log_line: LogLine
):
    log = [log_line(1000 + place, **{metric: value}) for place, value in enumerate((3.0, 2.0, 7.0))]
    panel = panels_of(log)[0]
    assert panel.kind == "metric"
    assert panel.best == best


def test_a_metric_that_has_no_better_end_is_drawn_without_a_best_point(tmp_path: Path, log_line: LogLine):
    log = [log_line(1000 * place, diversity=1 / place, validations_since_best=place) for place in (1, 2)]
    panels = draw_curves(log, tmp_path / "curves.png")
    assert (panels[0].kind, panels[0].title, panels[0].best) == ("metric", "Validation Diversity", None)
    assert "validations_since_best" not in {line.name for panel in panels for line in panel.lines}


def test_a_run_without_validation_has_no_panel_for_it(tmp_path: Path, log_line: LogLine):
    panels = draw_curves([log_line(1000), log_line(2000)], tmp_path / "curves.png")
    assert [panel.kind for panel in panels] == ["loss", "probability", "speed"]
    assert (tmp_path / "curves.png").is_file()


def test_ticks_between_validations_leave_no_hole_in_the_curve(log_line: LogLine):
    log = [log_line(1000, fid=5.0), log_line(2000), log_line(3000, fid=4.0)]
    line = panels_of(log)[0].lines[0]
    assert line.images == (1000, 3000)
    assert line.values == (5.0, 4.0)


def test_missing_and_infinite_numbers_are_left_out(log_line: LogLine):
    log = [log_line(1000, images_per_second=None, fid=float("inf"), note="resumed"), log_line(2000)]
    lines = {line.name: line for panel in panels_of(log) for line in panel.lines}
    assert "fid" not in lines
    assert "note" not in lines
    assert lines["images_per_second"].images == (2000,)


def test_an_empty_log_draws_nothing(tmp_path: Path):
    assert draw_curves([], tmp_path / "curves.png") == ()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("values", [(5.0,), (5.0, 5.0), (0.0, 0.0), (4000.0, 3.0), (-0.001, 0.002)])
def test_odd_validation_values_are_drawn_without_a_warning(
    values: tuple[float, ...], tmp_path: Path, log_line: LogLine
):
    log = [log_line(1000 * (place + 1), kid=value) for place, value in enumerate(values)]
    draw_curves(log, tmp_path / "curves.png", 10)
    assert (tmp_path / "curves.png").stat().st_size > 10_000


def test_counts_and_times_are_short():
    assert [short_count(n) for n in (0, 500, 1500, 100_000, 1_000_000, 6_802_500)] == [
        "0",
        "500",
        "1.5k",
        "100k",
        "1M",
        "6.803M",
    ]
    assert [duration(s) for s in (45, 200, 7500)] == ["45 s", "3 min 20 s", "2 h 5 min"]


def test_values_keep_the_digits_that_matter():
    given = (None, True, 2048, 21.532, 0.152345, [1.0, 2.5], {"sample_count": 3})
    assert [figure(value) for value in given] == [
        "–",
        "yes",
        "2,048",
        "21.53",
        "0.1523",
        "1.00 to 2.50",
        "sample count 3",
    ]


def test_scores_have_the_digits_that_are_known():
    assert [known(value) for value in (73.571, 176.3, 0.03027, -6.845e-06, 0.0)] == [
        "73.6",
        "176",
        "0.0303",
        "0.0000",
        "0",
    ]
    assert known(21.532, (20.9, 22.1)) == "21.5"
    assert known(21.532, (11.0, 31.0)) == "22"
    assert known(-6.845e-06, (-0.0002, 0.0002)) == "0.0000"
    assert figure(-6.845e-06) == "-0.000007"


def test_classes_have_names_without_wordnets_numbers():
    assert [
        class_name(name) for name in ("n02085620-Chihuahua", "n02085782-Japanese_spaniel", "n1", "_")
    ] == [
        "Chihuahua",
        "Japanese spaniel",
        "n1",
        "_",
    ]


def test_a_part_of_a_metric_is_read_by_the_metric_and_a_stranger_is_not():
    assert metric_direction("mifid") == metric_direction("fid_infinity") == -1
    assert metric_direction("precision") == 1
    assert metric_direction("fiddle") == metric_direction("gradient_norm") == 0
