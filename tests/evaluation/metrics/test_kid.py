import importlib.util
import sys
from importlib.machinery import ModuleSpec
from unittest.mock import MagicMock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kennel.errors import JudgementError
from kennel.evaluation.metrics import kid as module
from kennel.evaluation.metrics.builtin.distances import judge_kid
from kennel.evaluation.metrics.context import NORMAL_95, FeatureSide, MetricContext
from kennel.evaluation.metrics.kid import kid, kid_of_all_pairs
from kennel.features.moments import moments


def cloud(count: int, dimension: int, seed: int, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, 1, (count, dimension))


def plain(one: np.ndarray, other: np.ndarray) -> float:
    """The unbiased estimate, pair by pair."""

    def kernel(x: np.ndarray, y: np.ndarray) -> float:
        return float((x @ y / len(x) + 1) ** 3)

    def within(rows: np.ndarray) -> float:
        pairs = [(i, j) for i in range(len(rows)) for j in range(len(rows)) if i != j]
        return float(np.mean([kernel(rows[i], rows[j]) for i, j in pairs]))

    between = np.mean([kernel(x, y) for x in one for y in other])
    return float(within(one) + within(other) - 2 * between)


def _without_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch-fidelity imports torchvision on its way; its arithmetic needs none of it."""
    if importlib.util.find_spec("torchvision") is not None:
        return
    for name in ("", ".transforms", ".transforms.functional", ".datasets", ".models"):
        stand_in = MagicMock(name=f"torchvision{name}")
        stand_in.__spec__ = ModuleSpec(f"torchvision{name}", None)
        stand_in.__path__ = []
        monkeypatch.setitem(sys.modules, f"torchvision{name}", stand_in)


@pytest.mark.parametrize(("count", "size"), [(120, 50), (90, 90)])
def test_kid_is_torch_fidelity_s_at_the_same_seed(
    count: int, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch")
    _without_torchvision(monkeypatch)
    reference = pytest.importorskip("torch_fidelity.metric_kid", exc_type=ImportError)
    one, other = cloud(count, 32, 0), cloud(count + 30, 32, 1, 0.3)
    theirs = reference.kid_features_to_metric(
        torch.from_numpy(one),
        torch.from_numpy(other),
        kid_subsets=7,
        kid_subset_size=size,
        rng_seed=2020,
        verbose=False,
    )
    ours = kid(one, other, subsets=7, subset_size=size)
    assert ours.mean == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-10)
    assert ours.deviation == pytest.approx(theirs["kernel_inception_distance_std"], rel=1e-10)
    in_float32 = kid(one.astype(np.float32), other.astype(np.float32), subsets=7, subset_size=size)
    assert in_float32.mean == pytest.approx(ours.mean, rel=1e-5)


def test_kid_is_the_number_that_torch_fidelity_0_4_0_printed_for_these_features() -> None:
    one = np.sin(np.arange(60 * 8, dtype=np.float64) ** 1.3).reshape(60, 8)
    other = np.cos(np.arange(70 * 8, dtype=np.float64) ** 1.2).reshape(70, 8) + 0.2
    found = kid(one, other, subsets=5, subset_size=30)
    assert found.mean == pytest.approx(0.2921150988556508, rel=1e-9)
    assert found.deviation == pytest.approx(0.08355595821786899, rel=1e-9)


def test_one_subset_of_everything_and_all_pairs_are_the_plain_sum() -> None:
    one, other = cloud(12, 5, 2), cloud(12, 5, 3, 0.5)
    expected = plain(one, other)
    assert kid(one, other, subsets=1, subset_size=12).mean == pytest.approx(expected, rel=1e-12)
    assert kid_of_all_pairs(one, other).value == pytest.approx(expected, rel=1e-12)
    assert kid_of_all_pairs(one, other[:9]).value == pytest.approx(plain(one, other[:9]), rel=1e-12)


def test_a_kernel_with_other_options_is_that_kernel() -> None:
    one, other = cloud(20, 4, 4), cloud(20, 4, 5, 1.0)
    # Degree 1 without a coefficient is linear: MMD^2 is the unbiased squared distance of the means.
    unbiased = ((one.mean(0) - other.mean(0)) ** 2).sum() - sum(
        side.var(0, ddof=1).sum() / len(side) for side in (one, other)
    )
    found = kid_of_all_pairs(one, other, degree=1, gamma=1.0, coefficient=0.0).value
    assert found == pytest.approx(unbiased, rel=1e-12)
    found = kid(one, other, 1, 20, degree=1, gamma=2.0, coefficient=7.0).mean
    assert found == pytest.approx(2 * unbiased, rel=1e-10)


def test_a_subset_larger_than_a_side_is_capped_and_recorded() -> None:
    found = kid(cloud(40, 4, 6), cloud(60, 4, 7), subsets=2)
    assert (found.subset_size, found.requested_subset_size, found.subsets) == (40, 1000, 2)


def test_the_mean_of_many_draws_of_one_distribution_is_0() -> None:
    values = [kid_of_all_pairs(cloud(40, 8, s), cloud(30, 8, s + 9000)).value for s in range(400)]
    error = np.std(values) / np.sqrt(len(values))
    assert abs(np.mean(values)) < 3 * error


@pytest.mark.parametrize(("counts", "shift"), [((150, 150), 0.6), ((80, 240), 0.6), ((240, 80), 0.4)])
def test_the_standard_error_is_the_spread_of_repeated_draws(counts: tuple[int, int], shift: float) -> None:
    draws = 300
    found = [
        kid_of_all_pairs(cloud(counts[0], 6, s, shift), cloud(counts[1], 6, s + 5000)) for s in range(draws)
    ]
    spread = np.std([one.value for one in found], ddof=1)
    claimed = np.sqrt(np.mean([one.standard_error**2 for one in found]))
    # The spread of 300 draws is itself known to 1 / sqrt(600) = 4 %; three of these.
    assert claimed / spread == pytest.approx(1, abs=3 / np.sqrt(2 * draws))


@pytest.mark.parametrize("counts", [(100, 100), (60, 200)])
def test_the_variance_is_twice_the_true_one_where_both_sides_are_one_distribution(
    counts: tuple[int, int],
) -> None:
    draws = 400
    found = [kid_of_all_pairs(cloud(counts[0], 6, s), cloud(counts[1], 6, s + 5000)) for s in range(draws)]
    spread = np.std([one.value for one in found], ddof=1)
    claimed = np.sqrt(np.mean([one.standard_error**2 for one in found]))
    assert claimed / spread == pytest.approx(np.sqrt(2), rel=0.15)


@settings(max_examples=20, deadline=None)
@given(count=st.integers(2, 40), other_count=st.integers(2, 40), seed=st.integers(0, 999))
def test_order_sides_and_rotation_change_nothing(count: int, other_count: int, seed: int) -> None:
    one, other = cloud(count, 6, seed), cloud(other_count, 6, seed + 1, 0.5)
    random = np.random.default_rng(seed)
    rotation, _ = np.linalg.qr(random.normal(size=(6, 6)))
    found = kid_of_all_pairs(one, other)
    for changed in (
        kid_of_all_pairs(one[random.permutation(count)], other[random.permutation(other_count)]),
        kid_of_all_pairs(other, one),
        kid_of_all_pairs(one @ rotation, other @ rotation),
    ):
        assert changed.value == pytest.approx(found.value, abs=1e-10)
        assert changed.standard_error == pytest.approx(found.standard_error, rel=1e-9)


@settings(max_examples=15, deadline=None)
@given(block=st.integers(1, 50), seed=st.integers(0, 99))
def test_blocks_change_nothing(block: int, seed: int) -> None:
    one, other = cloud(37, 5, seed), cloud(29, 5, seed + 1)
    whole = kid_of_all_pairs(one, other)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK", block)
        parts = kid_of_all_pairs(one, other)
    assert parts.value == pytest.approx(whole.value, abs=1e-11)
    assert parts.standard_error == pytest.approx(whole.standard_error, rel=1e-10)


def test_what_cannot_be_measured_is_refused_in_a_sentence() -> None:
    good, bad = cloud(5, 4, 0), np.full((5, 4), np.inf)
    for measure in (kid, kid_of_all_pairs):
        with pytest.raises(JudgementError, match="fakes contain NaN or infinite"):
            measure(bad, good)
        with pytest.raises(JudgementError, match="reference contain NaN or infinite"):
            measure(good, bad)
        with pytest.raises(JudgementError, match="at least 2 images, and the fakes are 1"):
            measure(good[:1], good)
        with pytest.raises(JudgementError, match="4 and 3 dimensions"):
            measure(good, good[:, :3])
        with pytest.raises(JudgementError, match="shape"):
            measure(good[0], good)
    with pytest.raises(JudgementError, match="at least 1 subset of 2"):
        kid(good, good, subset_size=1)


def test_the_interval_knows_that_other_subsets_would_give_another_mean() -> None:
    random = np.random.default_rng(3)
    images, reference = (random.normal(size=(1500, 8)).astype(np.float32) for _ in range(2))
    found = judge_kid(
        MetricContext(FeatureSide(images), FeatureSide(reference), moments(reference), "made-up")
    )
    assert found.interval is not None
    reach = (found.interval[1] - found.interval[0]) / 2 / NORMAL_95
    all_pairs = kid_of_all_pairs(images, reference).standard_error
    assert reach**2 - all_pairs**2 == pytest.approx(found.details["deviation"] ** 2 / 100, rel=1e-6)
    few = [kid(images, reference, 10, 100, seed=seed) for seed in range(60)]
    of_subsets = np.mean([one.deviation**2 for one in few]) / 9  # a population variance of 10
    assert np.var([one.mean for one in few], ddof=1) == pytest.approx(of_subsets, rel=0.5)
