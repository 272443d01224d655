import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kennel.errors import JudgementError
from kennel.evaluation.metrics.prd import prd, prd_of_histograms


def islands(counts: list[int], seed: int) -> np.ndarray:
    """Tight groups far apart on the axes of a plane of as many dimensions, `counts` rows in each."""
    place = np.repeat(np.eye(len(counts)) * 100, counts, axis=0)
    return (place + np.random.default_rng(seed).normal(size=place.shape)).astype(np.float32)


histograms = st.lists(st.integers(0, 20), min_size=4, max_size=4).filter(any)


def test_equal_histograms_have_the_corner_on_their_curve() -> None:
    shares = np.array([0.2, 0.5, 0.3])
    curve = prd_of_histograms(shares, shares)
    assert [curve.max_f_score(beta) for beta in (8, 1 / 8, 1)] == pytest.approx([1, 1, 1], abs=1e-12)


def test_disjoint_histograms_are_0_everywhere() -> None:
    curve = prd_of_histograms(np.array([1.0, 0.0]), np.array([0.0, 1.0]))
    assert curve.precision.max() == 0
    assert curve.recall.max() == 0
    assert curve.max_f_score(8) == 0


def test_fakes_of_one_of_two_modes_have_full_precision_and_half_the_recall() -> None:
    curve = prd_of_histograms(np.array([0.5, 0.5]), np.array([1.0, 0.0]))
    assert curve.precision[-1] == 1
    assert curve.recall[0] == pytest.approx(0.5, abs=1e-12)
    # The corner (1, 1/2) lies at the slope 2; the nearest of 1001 angles is half a thousandth away.
    assert curve.max_f_score(8) == pytest.approx(65 * 0.5 / 64.5, rel=1e-3)
    assert curve.max_f_score(1 / 8) == pytest.approx((65 / 64) * 0.5 / (1 / 64 + 0.5), rel=3e-3)
    assert curve.max_f_score(1) == pytest.approx(2 / 3, rel=2e-3)


def test_fakes_of_two_modes_where_the_reference_has_one_have_it_the_other_way_round() -> None:
    curve = prd_of_histograms(np.array([1.0, 0.0]), np.array([0.5, 0.5]))
    assert curve.precision.max() == pytest.approx(0.5)
    assert curve.recall.max() == pytest.approx(1)


@settings(max_examples=60, deadline=None)
@given(one=histograms, other=histograms)
def test_swapping_the_sides_swaps_precision_and_recall(one: list[int], other: list[int]) -> None:
    first, second = np.array(one) / sum(one), np.array(other) / sum(other)
    forward, backward = prd_of_histograms(first, second), prd_of_histograms(second, first)
    np.testing.assert_allclose(backward.recall[::-1], forward.precision, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(backward.precision[::-1], forward.recall, rtol=1e-6, atol=1e-9)
    assert (np.diff(forward.precision) >= -1e-12).all()
    assert (np.diff(forward.recall) <= 1e-12).all()
    # The greatest precision is the fakes' share in clusters that the reference has at all, and conversely.
    assert forward.precision.max() == pytest.approx(second[first > 0].sum(), abs=1e-7)
    assert forward.recall.max() == pytest.approx(first[second > 0].sum(), abs=1e-7)


def test_a_set_against_itself_is_perfect() -> None:
    rows = islands([30] * 6, 0)
    found = prd(rows, rows, clusters=6, runs=2)
    assert (found.f8, found.f1_8, found.f1) == pytest.approx((1, 1, 1), abs=1e-12)
    assert found.f8_deviation == pytest.approx(0, abs=1e-12)


def test_islands_as_clusters_give_the_curve_of_their_true_histograms() -> None:
    reference, fakes = islands([40, 40, 40, 40], 1), islands([80, 60, 20, 0], 2)
    found = prd(fakes, reference, clusters=4, runs=2)
    expected = prd_of_histograms(np.full(4, 0.25), np.array([80, 60, 20, 0]) / 160)
    np.testing.assert_allclose(found.curve.precision, expected.precision, atol=1e-12)
    np.testing.assert_allclose(found.curve.recall, expected.recall, atol=1e-12)
    assert found.f8 == pytest.approx(expected.max_f_score(8), abs=1e-12)
    assert found.f1_8 > found.f8, "one mode is missing and nothing is made up"


def test_made_up_images_lower_precision_and_missing_modes_lower_recall() -> None:
    reference = islands([40, 40, 0, 0], 3)
    made_up, missing = islands([20, 20, 40, 0], 4), islands([80, 0, 0, 0], 5)
    assert prd(made_up, reference, clusters=4, runs=1).f1_8 < 0.6
    assert prd(made_up, reference, clusters=4, runs=1).f8 > 0.9
    assert prd(missing, reference, clusters=4, runs=1).f1_8 > 0.9
    assert prd(missing, reference, clusters=4, runs=1).f8 < 0.6


def test_the_larger_side_is_cut_to_the_smaller_and_recorded() -> None:
    found = prd(islands([30, 30], 6), islands([100, 100], 7), clusters=2, runs=1)
    assert (found.count, found.dropped) == (60, 140)
    assert found.f1 > 0.8
    assert prd(islands([100, 100], 7), islands([30, 30], 6), clusters=2, runs=1).dropped == 140


def test_a_seed_gives_the_same_numbers_again_and_the_runs_vary() -> None:
    random = np.random.default_rng(8)
    fakes, reference = random.normal(size=(150, 8)), random.normal(0.3, 1, size=(130, 8))
    one, again = prd(fakes, reference, runs=3, seed=5), prd(fakes, reference, runs=3, seed=5)
    np.testing.assert_array_equal(one.curve.precision, again.curve.precision)
    assert one.f8 == again.f8
    assert one.f8_deviation > 0
    assert prd(fakes, reference, runs=3, seed=6).f8 != one.f8


def test_images_that_are_all_one_are_measured() -> None:
    found = prd(np.zeros((40, 4)), islands([10, 10, 10, 10], 9), clusters=4, runs=1)
    assert found.curve.recall.max() <= 0.5


def test_what_cannot_be_measured_is_refused_in_a_sentence() -> None:
    good = islands([10, 10, 10], 0)
    with pytest.raises(JudgementError, match="at least 20 images, and the fakes are 19"):
        prd(good[:19], good)
    with pytest.raises(JudgementError, match="reference contain NaN"):
        prd(good, np.full((30, 3), np.nan))
    with pytest.raises(JudgementError, match="2 clusters and 1 run"):
        prd(good, good, runs=0)
    with pytest.raises(JudgementError, match="at least 3 angles"):
        prd_of_histograms(np.ones(1), np.ones(1), 2)
    with pytest.raises(JudgementError, match="histogram of the fakes is not"):
        prd_of_histograms(np.array([0.5, 0.5]), np.array([0.5, 0.6]))
    with pytest.raises(JudgementError, match="not over the same clusters"):
        prd_of_histograms(np.array([0.5, 0.5]), np.ones(1))
