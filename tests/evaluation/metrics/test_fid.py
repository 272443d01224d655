from dataclasses import replace

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st

from kennel.errors import JudgementError
from kennel.evaluation.metrics.fid import frechet_distance, standard_error
from kennel.features.moments import Moments, MomentsAccumulator, moments


def cloud(count: int, dimension: int, seed: int, decay: float = 2.0) -> np.ndarray:
    """Correlated float32 rows whose variances fall by 10**-decay, like features."""
    random = np.random.default_rng(seed)
    mixing = random.normal(size=(dimension, dimension)) * np.logspace(0, -decay, dimension)
    return (random.normal(size=(count, dimension)) @ mixing + random.normal(size=dimension)).astype(
        np.float32
    )


def by_singular_values(one: np.ndarray, other: np.ndarray) -> float:
    """The exact distance from the rows themselves: the trace is the nuclear norm of centred A @ B^T."""
    one, other = one.astype(np.float64), other.astype(np.float64)
    centred = (one - one.mean(0)) / np.sqrt(len(one) - 1)
    centred_other = (other - other.mean(0)) / np.sqrt(len(other) - 1)
    trace = np.linalg.svd(centred @ centred_other.T, compute_uv=False).sum()
    offset = one.mean(0) - other.mean(0)
    return float(offset @ offset + (centred**2).sum() + (centred_other**2).sum() - 2 * trace)


@pytest.mark.parametrize("count", [200, 30, 2])
def test_a_set_against_itself_is_0(count: int) -> None:
    own = moments(cloud(count, 64, 0))
    assert frechet_distance(own, own) < 1e-6 * np.trace(own.covariance)


def test_two_gaussians_with_diagonal_covariances_have_the_closed_form() -> None:
    one = Moments(np.zeros(3), np.diag([1.0, 4.0, 9.0]), 100)
    other = Moments(np.array([1.0, 2.0, 3.0]), np.diag([4.0, 4.0, 1.0]), 100)
    expected = 1 + 4 + 9 + (1 - 2) ** 2 + (2 - 2) ** 2 + (3 - 1) ** 2
    assert frechet_distance(one, other) == pytest.approx(expected, rel=1e-12)


def test_it_agrees_with_scipy_sqrtm() -> None:
    one, other = moments(cloud(500, 48, 1)), moments(cloud(400, 48, 2))
    root = scipy.linalg.sqrtm(one.covariance @ other.covariance)
    offset = one.mean - other.mean
    expected = offset @ offset + np.trace(one.covariance + other.covariance - 2 * root.real)
    assert frechet_distance(one, other) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("count", "other_count"), [(40, 300), (300, 40), (40, 25), (2, 2), (65, 64)])
def test_singular_covariances_have_the_exact_value(count: int, other_count: int) -> None:
    one, other = cloud(count, 64, 3), cloud(other_count, 64, 4)
    found = frechet_distance(moments(one), moments(other))
    assert found == pytest.approx(by_singular_values(one, other), rel=1e-9)
    by_eigenvectors = (replace(moments(rows), factor=None) for rows in (one, other))
    assert frechet_distance(*by_eigenvectors) == pytest.approx(found, rel=1e-6)


def test_constant_and_repeated_features_have_the_exact_value() -> None:
    one, other = cloud(300, 16, 5), cloud(300, 16, 6)
    one = np.concatenate([one, one, np.ones((300, 4), np.float32)], 1)
    other = np.concatenate([other, other, np.ones((300, 4), np.float32)], 1)
    found = frechet_distance(moments(one), moments(other))
    assert found == pytest.approx(by_singular_values(one, other), rel=1e-6)


def test_all_images_equal_is_the_distance_of_the_means_and_the_other_spread() -> None:
    still = moments(np.full((10, 4), 2.0, np.float32))
    other = Moments(np.zeros(4), np.eye(4), 50)
    assert frechet_distance(still, other) == pytest.approx(4 * 4 + 4)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), scale=st.sampled_from([1e-6, 1.0, 1e6]))
def test_rotation_changes_nothing_and_scale_its_square(seed: int, scale: float) -> None:
    one, other = cloud(60, 12, seed), cloud(50, 12, seed + 1)
    rotation, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(12, 12)))
    plain = frechet_distance(moments(one), moments(other))
    turned = frechet_distance(moments(one @ rotation * scale), moments(other @ rotation * scale))
    assert turned == pytest.approx(plain * scale**2, rel=1e-6)
    assert frechet_distance(moments(other), moments(one)) == pytest.approx(plain, rel=1e-9)


def test_moments_do_not_depend_on_the_blocks_and_survive_a_large_offset() -> None:
    rows = cloud(500, 8, 7).astype(np.float64) + 1e6
    accumulator = MomentsAccumulator()
    for start in range(0, 500, 77):
        accumulator.add(rows[start : start + 77])
    found = accumulator.moments()
    np.testing.assert_allclose(found.covariance, np.cov(rows, rowvar=False), rtol=1e-7, atol=1e-10)
    np.testing.assert_allclose(found.mean, rows.mean(0), rtol=1e-14)
    assert found.count == 500


def test_what_cannot_be_measured_is_refused_in_a_sentence() -> None:
    with pytest.raises(JudgementError, match="at least 2 images, there are 1"):
        moments(np.ones((1, 3), np.float32))
    with pytest.raises(JudgementError, match="NaN or infinite"):
        moments(np.array([[1.0, np.nan], [0.0, 1.0]]))
    with pytest.raises(JudgementError, match="same extractor for both sides"):
        frechet_distance(moments(np.eye(3)), moments(np.eye(4)))
    with pytest.raises(JudgementError, match="NaN or infinite"):
        frechet_distance(Moments(np.zeros(2), np.full((2, 2), np.nan), 5), Moments(np.zeros(2), np.eye(2), 5))


def test_the_standard_error_is_the_spread_of_repeated_draws() -> None:
    random = np.random.default_rng(0)
    mixing = np.linalg.qr(random.standard_normal((8, 8)))[0] * np.linspace(0.5, 2, 8)
    values, errors = [], []
    for _ in range(300):
        one = random.standard_normal((400, 8)) @ mixing + 0.3
        other = random.standard_normal((600, 8)) * 1.3
        first, second = moments(one), moments(other)
        values.append(frechet_distance(first, second))
        errors.append(standard_error(first, second, one, other))
    # The spread of 300 draws is itself known to 4%; three of that, and the mean error's own noise.
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.13)


@pytest.mark.parametrize("decay", [1.0, 2.0, 2.7])
def test_the_standard_error_is_the_same_from_either_side_of_badly_conditioned_features(decay: float) -> None:
    # The sides go through different inverses, which agree as far as rounding leaves them right.
    one, other = (np.random.default_rng(seed).standard_normal((400, 24)) for seed in (10, 11))
    sizes = np.logspace(0, -decay, 24)
    one, other = one * sizes, (1.2 * other + 0.1) * sizes
    there = standard_error(moments(one), moments(other), one, other)
    back = standard_error(moments(other), moments(one), other, one)
    assert there is not None
    assert there == pytest.approx(back, rel=1e-5)


@pytest.mark.parametrize("scale", [1e-15, 1e15])
def test_the_standard_error_grows_with_the_square_of_the_features(scale: float) -> None:
    one, other = cloud(100, 6, 8).astype(np.float64), cloud(120, 6, 9).astype(np.float64)
    plain = standard_error(moments(one), moments(other), one, other)
    assert plain is not None
    one, other = one * scale, other * scale
    assert standard_error(moments(one), moments(other), one, other) == pytest.approx(
        plain * scale**2, rel=1e-4
    )


def test_the_standard_error_of_features_that_are_dead_on_a_side_is_the_spread_of_repeated_draws() -> None:
    random = np.random.default_rng(3)
    mixing = np.linalg.qr(random.standard_normal((8, 8)))[0] * np.linspace(0.5, 2, 8)
    values, errors = [], []
    for _ in range(300):
        one = random.standard_normal((400, 8)) @ mixing + 0.3
        other = random.standard_normal((600, 8)) * 1.3
        one[:, 0] = one[:, 5] = other[:, 5] = 0.0
        other[:, 3] = 0.25
        first, second = moments(one), moments(other)
        values.append(frechet_distance(first, second))
        errors.append(standard_error(first, second, one, other))
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.13)


def test_a_feature_that_is_dead_on_both_sides_changes_no_standard_error() -> None:
    one, other = cloud(100, 6, 8), cloud(120, 6, 9)
    plain = standard_error(moments(one), moments(other), one, other)
    one, other = (np.insert(rows, 2, 0.5, axis=1) for rows in (one, other))
    assert standard_error(moments(one), moments(other), one, other) == pytest.approx(plain, rel=1e-5)


def test_singular_covariances_have_no_standard_error() -> None:
    still = np.ones((20, 4))
    assert standard_error(moments(still), moments(still), still, still) is None
    rows = np.random.default_rng(1).standard_normal((10, 16))
    assert standard_error(moments(rows), moments(rows + 1), rows, rows + 1) is None
