"""The files of a search: importances, tables, figures, from trials that were not trained."""

import math

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial
from PIL import Image

from kennel.tuning.results import (
    TuneResults,
    best_yaml,
    comparison_table,
    find_importances,
    trials_table,
    write_results,
)
from kennel.tuning.rows import TrialRow, best_of, improvements, own_of

RATE, NOISE = "generator_optimizer.learning_rate", "techniques.instance_noise.variance"


@pytest.fixture
def plan(make):
    return make(only=f"{RATE},{NOISE}")


def study_of(plan, scores) -> optuna.Study:
    """Trials with a grid of values; `scores(rate, noise)` of each."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction=plan.direction)
    ranges = {one.key: FloatDistribution(one.low, one.high, log=True) for one in plan.space.dimensions}
    for rate in (1e-4, 3e-4, 1e-3, 3e-3):
        for noise in (0.03, 0.1, 0.3, 1.0):
            params = {RATE: rate, NOISE: noise}
            value = scores(rate, noise)
            study.add_trial(create_trial(params=params, distributions=ranges, value=value))
    study.add_trial(create_trial(params=params, distributions=ranges, state=TrialState.PRUNED))
    return study


def row(number: int, score: float | None, state="finished", **more) -> TrialRow:
    values = {RATE: 5e-4 * (number + 1), NOISE: 0.2}
    return TrialRow(number, state, score, 48, 64, 1.5, values, own=number == 0, **more)


ROWS = (
    row(0, 30.0),
    row(1, None, "failed", reason="weights that are not finite"),
    row(2, 40.0, "pruned"),
    row(3, 25.0),
    row(4, None, "interrupted", reason="interrupted"),
    row(5, 25.0, continues=4),
    row(6, 20.0),
)


def test_the_number_that_decides_the_score_is_the_important_one(plan):
    found = find_importances(plan, study_of(plan, lambda rate, noise: 100 + 50 * math.log10(rate)))
    assert list(found) == [RATE, NOISE]
    assert found[RATE] > 0.95
    assert sum(found.values()) == pytest.approx(1)


def test_a_few_diverged_trials_do_not_decide_the_importances(plan):
    """On a linear scale the one score of 10^6 would."""

    def scores(rate: float, noise: float) -> float:
        return 1e6 if (rate, noise) == (3e-3, 1.0) else 10 * 10 ** (3 * (math.log10(rate) + 4))

    found = find_importances(plan, study_of(plan, scores))
    assert found[RATE] > 0.8


def test_equal_scores_or_too_few_have_no_importances(plan):
    assert find_importances(plan, study_of(plan, lambda rate, noise: 7.0)) == {}
    assert find_importances(plan, optuna.create_study()) == {}


def test_best_own_and_improvements_are_of_finished_trials(plan):
    assert best_of(ROWS, "minimize") == ROWS[6]
    assert best_of(ROWS, "maximize") == ROWS[0]
    assert best_of(ROWS[1:3], "minimize") is None
    assert own_of(ROWS) == ROWS[0]
    assert [one.number for one in improvements(ROWS, "minimize")] == [0, 3, 6]
    assert [one.number for one in improvements(ROWS, "maximize")] == [0]


def test_the_tables_name_every_trial_with_its_reason(plan):
    found = TuneResults(plan, ROWS, {RATE: 0.75, NOISE: 0.25})
    states = [cells[1] for cells in trials_table(found).rows]
    assert states == [
        "finished",
        "failed: weights that are not finite",
        "pruned",
        "finished",
        "interrupted, continued as trial-005",
        "finished",
        "finished",
    ]
    rows = {cells[0]: cells[1:] for cells in comparison_table(found).rows}
    assert rows[RATE] == ("0.0005", "0.0035", "5e-05 to 0.005, log", "75%")
    assert rows["FID at 64 images"][:2] == ("30.00", "20.00")
    assert found.counts == "4 finished, 1 failed, 1 pruned, 1 interrupted"
    assert "from 4 finished trials over 2 numbers. With so few trials they are rough." in found.note


def test_all_files_are_written_and_the_figures_are_pictures(plan):
    found = TuneResults(plan, ROWS, {RATE: 0.75, NOISE: 0.25})
    written = write_results(found)
    assert [path.name for path in written] == [
        "best.yaml",
        "trials.csv",
        "results.md",
        "history.png",
        "importance.png",
    ]
    assert all(path.is_file() for path in written)
    for picture in written[-2:]:
        with Image.open(picture) as opened:
            assert opened.width > 1000
    text = (plan.out / "results.md").read_text()
    assert "| trial-006 | 20.00 | 48 |" in text
    assert "trial-001" in text
    assert "![importance](importance.png)" in text


def test_without_a_finished_trial_there_is_no_best_recipe_but_a_table(plan):
    assert [path.name for path in write_results(TuneResults(plan, ROWS[1:3], {}))] == [
        "trials.csv",
        "results.md",
    ]
    assert not (plan.out / "best.yaml").exists()


def test_where_no_trial_was_better_the_best_recipe_is_the_recipe(plan):
    found = TuneResults(plan, ROWS[:3], {})
    text = best_yaml(found, ROWS[0])
    assert "with the values of trial-000, which are its own: no trial was better." in text
    assert "name: digits\n" in text
    tuned = best_yaml(TuneResults(plan, ROWS, {}), ROWS[6])
    assert "# FID 20.00 after 48 images of a trial of 64 images; the recipe's own values: 30.00." in tuned
    assert "name: digits.tuned\n" in tuned
