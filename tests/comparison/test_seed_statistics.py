"""Tables over training seeds."""

import numpy as np
import pytest
from scipy import stats

from kennel.comparison.runs import read_runs
from kennel.comparison.scores import ScoreTable
from kennel.comparison.seed_statistics import paired_interval, seed_difference_table, seed_table
from scored import score


@pytest.fixture
def runs(make_run):
    """Two recipes with three seeds each."""
    paths = [
        make_run(f"{row}{seed}", [f"seed={seed}", f"batch_size={batch}"])
        for row, batch in (("a", 8), ("b", 16))
        for seed in (0, 1, 2)
    ]
    return read_runs(paths)


def _scores(runs, values) -> ScoreTable:
    return ScoreTable(
        {run.label: {"fid": score("fid", value)} for run, value in zip(runs, values, strict=True)},
        {"fid": 3.0},
        100,
    )


def test_the_interval_is_that_of_a_paired_t_test():
    differences = [1.0, 2.5, 0.5, 3.0]
    low, mean, high = paired_interval(differences)
    expected = stats.ttest_1samp(differences, 0).confidence_interval(0.95)
    assert (low, high) == pytest.approx((expected.low, expected.high))
    assert mean == pytest.approx(np.mean(differences))


def test_a_recipe_has_its_mean_and_deviation_and_the_floor_comes_first(runs):
    table = seed_table(_scores(runs, (40, 42, 44, 30, 31, 32)), runs, "T")
    assert table.columns == ("", "seeds", "FID ↓")
    assert [row[1:] for row in table.rows] == [("", "3.00"), ("3", "42.00 ± 2"), ("3", "31.00 ± 1")]
    assert table.bold == {(2, 2)}


def test_differences_are_paired_by_seed(runs):
    scores = _scores(runs, (40, 50, 60, 30, 41, 49))
    table = seed_difference_table(scores, runs)
    low, mean, high = paired_interval([-10.0, -9.0, -11.0])
    assert mean == -10
    assert table.rows[0][1] == f"−10.0 (−{-low:.1f} to −{-high:.2g})"
    assert table.bold == {(0, 1)}


def test_single_seeds_have_no_such_tables(make_run):
    runs = read_runs([make_run("a"), make_run("b", ["batch_size=16"])])
    scores = _scores(runs, (1, 2))
    assert seed_table(scores, runs, "T") is None
    assert seed_difference_table(scores, runs) is None


def test_a_run_without_a_score_is_left_out_of_the_mean(runs):
    scores = _scores(runs, (40, 42, 44, 30, 31, 32))
    fewer = ScoreTable({label: one for label, one in scores.scores.items() if label != "b2"})
    assert seed_table(fewer, runs, "T").rows[1][1] == "2"
