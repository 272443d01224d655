"""A stated 95% interval holds what it promises, also in several dimensions, and never closes on a share."""

import numpy as np
import pytest

from evidence import evidence
from kennel.errors import JudgementError
from kennel.evaluation.metrics import builtin
from kennel.evaluation.metrics.base import METRICS, MetricResult
from kennel.evaluation.metrics.context import MetricSettings, wilson_interval
from kennel.evaluation.metrics.prdc import manifolds

assert builtin  # they register themselves
SHARES = ("precision", "recall", "f1", "density", "coverage")


def cloud(count: int, dimension: int, seed: int, scale: float = 1.0) -> np.ndarray:
    random = np.random.default_rng([seed, dimension])
    return (scale * random.standard_normal((count, dimension))).astype(np.float32)


SHORT = {("density", 32, 0.8): 0.80}
"""Where an interval is known to hold less than it promises: docs/benchmarks.md says so (84% was measured)."""


@pytest.mark.slow
@pytest.mark.parametrize("dimension", [2, 8, 32])
@pytest.mark.parametrize("scale", [1.0, 0.8])
def test_the_intervals_of_precision_and_its_kin_hold_their_mean_score(dimension: int, scale: float) -> None:
    """With balls held fixed recall's held it in 55% of the draws in 2 dimensions and in 80% in 8."""
    findings: dict[str, list[MetricResult]] = {name: [] for name in SHARES}
    for draw in range(100):
        images, reference = cloud(200, dimension, 2 * draw, scale), cloud(200, dimension, 2 * draw + 1)
        of_draw = evidence(images, reference)
        for name, found in findings.items():
            found.append(METRICS[name].compute(of_draw))
    for name, found in findings.items():
        mean = np.mean([one.value for one in found])
        assert all(one.interval for one in found)
        lows, highs = np.array([one.interval for one in found]).T
        # 100 draws tell 95% to 2 points: 88% is three standard deviations away.
        least = SHORT.get((name, dimension, scale), 0.88)
        assert np.mean((lows <= mean) & (mean <= highs)) >= least, name


def test_the_interval_of_recall_knows_that_the_balls_move() -> None:
    """In 2 dimensions and of sides that differ, 200 draws of rows alone vary by 0.41 times the truth."""
    draws = [evidence(cloud(200, 2, 2 * n, 0.8) + 0.7, cloud(200, 2, 2 * n + 1)) for n in range(10)]
    found = [METRICS["recall"].compute(one) for one in draws]
    widths = [one.interval[1] - one.interval[0] for one in found if one.interval]
    of_rows = [np.subtract(*reversed(wilson_interval(one.value, 200))) for one in found]
    assert len(widths) == len(draws)
    assert np.mean(widths) > 1.5 * np.mean(of_rows)


def test_a_share_of_all_rows_leaves_the_interval_open() -> None:
    own = cloud(40, 4, 1)
    for name in ("precision", "recall", "f1", "coverage"):
        found = METRICS[name].compute(evidence(own, own))
        assert found.value == 1.0
        assert found.interval is not None
        assert found.interval[0] < 0.95
        assert found.interval[1] == 1.0


@pytest.mark.parametrize(
    ("share", "count", "low", "high"),
    [(0.0, 10, 0.0, 0.2775), (0.5, 10, 0.2366, 0.7634), (1.0, 50, 0.9287, 1)],
)
def test_wilsons_interval_is_the_published_one(share: float, count: int, low: float, high: float) -> None:
    assert wilson_interval(share, count) == pytest.approx((low, high), abs=1e-4)


def test_few_images_have_a_value_without_an_interval() -> None:
    for name in SHARES:
        assert METRICS[name].compute(evidence(cloud(11, 4, 1), cloud(11, 4, 2))).interval is None
        assert METRICS[name].compute(evidence(cloud(12, 4, 1), cloud(12, 4, 2))).interval is not None


def test_each_figure_names_its_own_k_in_the_protocol() -> None:
    images, reference = cloud(60, 8, 1), cloud(60, 8, 2)
    given = evidence(images, reference, MetricSettings(neighbors=2, density_neighbors=7))
    named = {name: METRICS[name].compute(given).protocol["neighbours"] for name in SHARES}
    assert named == {"precision": 2, "recall": 2, "f1": 2, "density": 7, "coverage": 7}
    assert METRICS["density"].compute(given).value == manifolds(images, reference, 7, 7).density
    assert METRICS["recall"].compute(given).value == manifolds(images, reference, 2, 2).recall
    published = evidence(images, reference)
    assert METRICS["coverage"].compute(published).value == manifolds(images, reference, 5, 5).coverage
    assert METRICS["precision"].compute(published).value == manifolds(images, reference, 3, 3).precision


@pytest.mark.parametrize("name", ["precision", "recall"])
def test_too_few_images_for_density_are_enough_for_precision(name: str) -> None:
    given = evidence(cloud(5, 4, 1), cloud(5, 4, 2))
    assert 0 <= METRICS[name].compute(given).value <= 1
    with pytest.raises(JudgementError, match="each needs 5 neighbors on its own side: give at least 6"):
        METRICS["density"].compute(given)
