"""Intervals of differences against what other draws give."""

import numpy as np
import pytest

from evidence import evidence
from kennel.comparison.paired_differences import PAIRED, differences
from kennel.comparison.scores import ScoreTable
from kennel.comparison.tables import difference_table
from kennel.evaluation.metrics.base import METRICS
from scored import score


def _compared(
    random: np.random.Generator, half_samples: int, metrics: tuple[str, ...] = ("fid",), seed: int = 0
):
    """Two runs a known distance from a reference, all drawn anew."""
    reference = random.normal(0, 1, (600, 4)).astype(np.float32)
    sides = {"a": random.normal(0.3, 1, (600, 4)), "b": random.normal(0.6, 1, (600, 4))}
    contexts = {label: evidence(side.astype(np.float32), reference) for label, side in sides.items()}
    scores = {
        label: {name: score(name, METRICS[name].compute(context).value) for name in metrics}
        for label, context in contexts.items()
    }
    return differences(scores, contexts, half_samples, seed)


def test_the_interval_is_as_wide_as_differences_of_other_draws_vary():
    values = [_compared(np.random.default_rng(seed), 0)[0].value for seed in range(200)]
    widths = []
    for seed in range(20):
        (found,) = _compared(np.random.default_rng(1000 + seed), 32, seed=seed)
        widths.append(found.interval[1] - found.interval[0])
    measured = np.mean(widths) / (2 * 1.96)
    assert measured == pytest.approx(np.std(values, ddof=1), rel=0.15)


def test_the_difference_is_that_of_the_whole_sets_and_inside_its_interval():
    (found,) = _compared(np.random.default_rng(5), 8)
    assert (found.label, found.metric) == ("b", "fid")
    assert found.interval[0] < found.value < found.interval[1]
    assert found.is_clear
    assert _compared(np.random.default_rng(5), 0)[0].value == found.value
    assert _compared(np.random.default_rng(5), 0)[0].interval is None


@pytest.mark.parametrize("metric", PAIRED)
def test_every_paired_metric_gets_an_interval(metric):
    (found,) = _compared(np.random.default_rng(6), 4, (metric,))
    assert found.interval is not None


def test_a_run_compared_with_itself_differs_by_nothing():
    random = np.random.default_rng(7)
    same = random.normal(0, 1, (500, 3)).astype(np.float32)
    context = evidence(same, random.normal(0, 1, (500, 3)).astype(np.float32))
    scores = {label: {"fid": score("fid", METRICS["fid"].compute(context).value)} for label in ("a", "b")}
    (found,) = differences(scores, {"a": context, "b": context}, 4)
    assert (found.value, found.interval, found.is_clear) == (0.0, (0.0, 0.0), False)


def test_the_table_of_differences_shows_intervals_and_marks_what_is_clear(make_run):
    found = _compared(np.random.default_rng(5), 8)
    scores = {label: {"fid": score("fid", 1.0)} for label in ("a", "b")}
    table = difference_table(ScoreTable(scores, differences=tuple(found)))
    assert table.title == "Difference from a"
    assert table.rows[0][0] == "b"
    assert table.rows[0][1].startswith("+")
    assert " to +" in table.rows[0][1]
    assert table.bold == {(0, 1)}
