import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kennel.errors import JudgementError
from kennel.evaluation.metrics.fid import frechet_distance
from kennel.evaluation.metrics.fid_infinity import fid_infinity, fit_line
from kennel.features.moments import Moments, moments

DIMENSION = 16


def gaussian(count: int, seed: int, scale: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, scale, (count, DIMENSION))


def standard(count: int = 10**9) -> Moments:
    """The moments of a standard normal reference without end."""
    return Moments(np.zeros(DIMENSION), np.eye(DIMENSION), count)


@pytest.mark.parametrize(("scale", "truth"), [(1.0, 0.0), (1.5, 16 * 0.25)])
def test_the_intercept_is_nearer_the_truth_than_fid_at_the_full_count(scale: float, truth: float) -> None:
    found = [fid_infinity(gaussian(1000, seed, scale), standard()) for seed in range(20)]
    intercepts, full = np.array([(one.value, one.fids[-1]) for one in found]).T
    bias = abs(full.mean() - truth)
    assert full.mean() > truth
    assert abs(intercepts.mean() - truth) < 0.25 * bias + 3 * intercepts.std() / np.sqrt(20)
    assert abs(intercepts.mean() - truth) < 0.5 * bias


def test_against_a_sampled_reference_the_intercept_is_nearer_too() -> None:
    reference = moments(gaussian(200_000, 77))
    found = fid_infinity(gaussian(2000, 0), reference)
    assert abs(found.value) < 0.3 * found.fids[-1]
    assert found.slope > 0
    assert found.r_squared > 0.95


def test_the_last_point_is_plain_fid_and_the_counts_are_evenly_spaced() -> None:
    rows = gaussian(300, 1)
    found = fid_infinity(rows, standard(), points=6)
    assert found.counts == (150, 180, 210, 240, 270, 300)
    assert found.fids[-1] == pytest.approx(frechet_distance(moments(rows), standard()), rel=1e-9)
    order = np.random.default_rng(0).permutation(300)
    first = frechet_distance(moments(rows[order[:150]]), standard())
    assert found.fids[0] == pytest.approx(first, rel=1e-9)


def test_the_smallest_subset_is_the_paper_s_where_there_are_enough_images() -> None:
    rows = np.random.default_rng(0).normal(size=(10_500, 2))
    assert fid_infinity(rows, moments(rows), points=3).counts == (5000, 7750, 10_500)
    assert fid_infinity(rows, moments(rows), points=3, minimum=500).counts == (500, 5500, 10_500)


@settings(max_examples=40, deadline=None)
@given(value=st.floats(-5, 50, allow_subnormal=False), slope=st.floats(-100, 1000, allow_subnormal=False))
def test_points_on_a_line_in_1_over_n_give_that_line(value: float, slope: float) -> None:
    counts = list(range(100, 1100, 100))
    found = fit_line(counts, [value + slope / count for count in counts])
    assert found.value == pytest.approx(value, abs=1e-9)
    assert found.slope == pytest.approx(slope, abs=1e-6)
    assert found.standard_error == pytest.approx(0, abs=1e-9)


def test_the_line_and_its_error_are_scipy_s() -> None:
    from scipy.stats import linregress

    counts = [50, 60, 80, 120, 200, 300]
    fids = [3.0, 2.9, 2.2, 1.9, 1.7, 1.2]
    theirs = linregress(1 / np.array(counts), fids)
    found = fit_line(counts, fids)
    assert found.value == pytest.approx(theirs.intercept)
    assert found.slope == pytest.approx(theirs.slope)
    assert found.standard_error == pytest.approx(theirs.intercept_stderr)
    assert found.r_squared == pytest.approx(theirs.rvalue**2)


def test_equal_distances_are_a_level_line() -> None:
    found = fit_line([10, 20, 30], [2.0, 2.0, 2.0])
    assert (found.value, found.slope, found.r_squared) == (2.0, 0.0, 1.0)


def test_a_seed_gives_the_same_number_again_and_rotation_changes_nothing() -> None:
    rows, reference = gaussian(200, 3), gaussian(400, 4, 1.3)
    rotation, _ = np.linalg.qr(np.random.default_rng(5).normal(size=(DIMENSION, DIMENSION)))
    found = fid_infinity(rows, moments(reference), seed=2)
    assert fid_infinity(rows, moments(reference), seed=2) == found
    assert fid_infinity(rows, moments(reference), seed=3).value != found.value
    turned = fid_infinity(rows @ rotation, moments(reference @ rotation), seed=2)
    assert turned.value == pytest.approx(found.value, rel=1e-6)


def test_what_cannot_be_measured_is_refused_in_a_sentence() -> None:
    with pytest.raises(JudgementError, match=r"subsets of 16 images in 16 dimensions .* give at least 34"):
        fid_infinity(gaussian(33, 0), standard())
    assert fid_infinity(gaussian(34, 0), standard()).counts[0] == 17
    with pytest.raises(JudgementError, match="15 different counts from 30 to 40"):
        fid_infinity(gaussian(40, 0), standard(), minimum=30)
    with pytest.raises(JudgementError, match="a line needs at least 3"):
        fid_infinity(gaussian(40, 0), standard(), points=2)
    with pytest.raises(JudgementError, match="NaN"):
        fid_infinity(np.full((40, DIMENSION), np.nan), standard())
    with pytest.raises(JudgementError, match="dimensions cannot be compared"):
        fid_infinity(gaussian(40, 0)[:, :8], standard())
