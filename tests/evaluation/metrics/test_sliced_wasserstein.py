import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from kennel.errors import JudgementError
from kennel.evaluation.metrics import sliced_wasserstein as sliced
from kennel.evaluation.metrics.sliced_wasserstein import (
    random_directions,
    sliced_wasserstein,
    squares_along,
    wasserstein_squares,
)


def cloud(count: int, dimension: int, seed: int, scale: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, scale, (count, dimension))


def by_repetition(one: np.ndarray, other: np.ndarray) -> float:
    """W_2^2 of two samples: each repeated to a common count, then matched by the assignment problem."""
    count = np.lcm(len(one), len(other))
    cost = (np.repeat(one, count // len(one))[:, None] - np.repeat(other, count // len(other))) ** 2
    rows, columns = linear_sum_assignment(cost)
    return float(cost[rows, columns].mean())


def test_a_shift_is_its_length_along_each_direction_and_over_root_n_on_average() -> None:
    rows, shift = cloud(50, 24, 0), np.linspace(-1, 3, 24)
    directions = random_directions(24, 200, 1)
    np.testing.assert_allclose(
        squares_along(rows + shift, rows, directions), (shift @ directions) ** 2, rtol=1e-9
    )
    found = sliced_wasserstein(rows + shift, rows, projections=4000)
    expected = np.linalg.norm(shift) / np.sqrt(24)
    assert found.value == pytest.approx(expected, abs=3 * found.standard_error)
    assert found.standard_error < 0.02 * expected
    assert found.value**2 == pytest.approx(found.mean_square)


def test_two_gaussians_have_the_closed_form() -> None:
    # Along every direction N(0, 1) against N(0, 4): W_2 = 2 - 1.
    found = sliced_wasserstein(cloud(20_000, 3, 2), cloud(30_000, 3, 3, 2.0), projections=50)
    assert found.value == pytest.approx(1, abs=0.03)


def test_the_directions_have_length_1_and_no_preference() -> None:
    directions = random_directions(8, 20_000, 4)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=0), 1)
    np.testing.assert_allclose(directions @ directions.T / 20_000, np.eye(8) / 8, atol=0.005)
    np.testing.assert_array_equal(random_directions(8, 5, 4), random_directions(8, 9, 4)[:, :5])


@settings(max_examples=60, deadline=None)
@given(
    one=st.lists(st.integers(-50, 50), min_size=1, max_size=9),
    other=st.lists(st.integers(-50, 50), min_size=1, max_size=9),
)
def test_unequal_counts_have_the_cost_of_the_best_match(one: list[int], other: list[int]) -> None:
    first, second = np.sort(np.array(one, float)), np.sort(np.array(other, float))
    found = wasserstein_squares(first[None], second[None])
    assert found[0] == pytest.approx(by_repetition(first, second), abs=1e-9)


@settings(max_examples=20, deadline=None)
@given(count=st.integers(2, 40), other_count=st.integers(2, 40), seed=st.integers(0, 999))
def test_order_sides_and_repeated_sets_change_nothing(count: int, other_count: int, seed: int) -> None:
    one, other = cloud(count, 6, seed), cloud(other_count, 6, seed + 1, 2.0)
    random = np.random.default_rng(seed)
    found = sliced_wasserstein(one, other, 20).value
    shuffled = one[random.permutation(count)], other[random.permutation(other_count)]
    assert sliced_wasserstein(*shuffled, 20).value == pytest.approx(found, rel=1e-12)
    assert sliced_wasserstein(other, one, 20).value == pytest.approx(found, rel=1e-12)
    assert sliced_wasserstein(np.tile(one, (3, 1)), other, 20).value == pytest.approx(found, rel=1e-12)
    assert sliced_wasserstein(one, np.tile(one, (2, 1)), 20).value == pytest.approx(0, abs=1e-12)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999))
def test_rotating_both_sets_and_the_directions_changes_nothing(seed: int) -> None:
    one, other, directions = cloud(30, 6, seed), cloud(20, 6, seed + 1), random_directions(6, 15, seed)
    rotation, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(6, 6)))
    turned = squares_along(one @ rotation, other @ rotation, rotation.T @ directions)
    np.testing.assert_allclose(turned, squares_along(one, other, directions), rtol=1e-10)


def test_a_set_against_itself_is_exactly_0() -> None:
    rows = cloud(100, 8, 5).astype(np.float32)
    found = sliced_wasserstein(rows, rows)
    assert (found.value, found.standard_error, found.projections) == (0, 0, 1000)


def test_the_standard_error_is_the_spread_over_directions() -> None:
    one, other = cloud(60, 5, 6) + np.arange(5), cloud(60, 5, 7)
    found = [sliced_wasserstein(one, other, 40, seed) for seed in range(300)]
    spread = np.std([result.value for result in found], ddof=1)
    assert np.mean([result.standard_error for result in found]) / spread == pytest.approx(1, abs=0.13)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = cloud(31, 7, 8), cloud(23, 7, 9)
    whole = sliced_wasserstein(one, other, 50)
    for held in (1, 100, 700):
        monkeypatch.setattr(sliced, "MAX_VALUES", held)
        assert sliced_wasserstein(one, other, 50).value == pytest.approx(whole.value, rel=1e-12)


def test_what_cannot_be_measured_is_refused_in_a_sentence() -> None:
    good = cloud(5, 4, 0)
    with pytest.raises(JudgementError, match="fakes contain NaN"):
        sliced_wasserstein(np.full((5, 4), np.nan), good)
    with pytest.raises(JudgementError, match="at least 2 images, and the reference are 1"):
        sliced_wasserstein(good, good[:1])
    with pytest.raises(JudgementError, match="4 and 3 dimensions"):
        sliced_wasserstein(good, good[:, :3])
    with pytest.raises(JudgementError, match="at least 2 projections"):
        sliced_wasserstein(good, good, 1)
