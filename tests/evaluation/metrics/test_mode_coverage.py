import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import rel_entr
from scipy.stats import chi2

from kennel.errors import JudgementError
from kennel.evaluation.metrics import mode_coverage
from kennel.evaluation.metrics.mode_coverage import frequency_divergence, modes_of_centers, modes_of_classes

GRID = np.stack(np.meshgrid(*[np.linspace(-0.8, 0.8, 5)] * 2), -1).reshape(25, 2)

class_lists = st.lists(st.integers(0, 6), min_size=1, max_size=60)


def test_classes_are_counted_and_all_of_one_class_diverge_by_the_logarithm_of_their_number() -> None:
    found = modes_of_classes(np.full(50, 3), 1000)
    assert (found.covered, found.classes) == (1, 1000)
    assert found.divergence == pytest.approx(np.log(1000))
    even = modes_of_classes(np.arange(3000) % 1000, 1000)
    assert (even.covered, even.divergence) == (1000, pytest.approx(0, abs=1e-12))


def test_a_class_is_covered_from_so_many_samples_on() -> None:
    predicted = np.repeat([0, 1, 2], [1, 4, 5])
    assert [
        modes_of_classes(predicted, 5, min_samples=min_samples).covered for min_samples in (1, 4, 5, 6)
    ] == [3, 2, 1, 0]
    np.testing.assert_array_equal(modes_of_classes(predicted, 5).counts, [1, 4, 5, 0, 0])


@settings(max_examples=60, deadline=None)
@given(predicted=class_lists, reference=class_lists, seed=st.integers(0, 99))
def test_the_divergence_is_scipy_s_and_order_changes_nothing(
    predicted: list[int], reference: list[int], seed: int
) -> None:
    one, other = np.array(predicted), np.array(reference)
    found = modes_of_classes(one, 7, other)
    shares = np.bincount(one, minlength=7) / len(one)
    others = np.bincount(other, minlength=7) / len(other)
    assert found.divergence == pytest.approx(rel_entr(shares, others).sum(), abs=1e-12)
    assert found.covered == len(set(predicted))
    shuffled = modes_of_classes(np.random.default_rng(seed).permutation(one), 7, other)
    assert shuffled.divergence == found.divergence
    assert modes_of_classes(one, 7, one).divergence == 0
    assert modes_of_classes(np.tile(one, 3), 7, other).divergence == pytest.approx(found.divergence)


def test_samples_of_a_class_that_the_reference_lacks_diverge_without_end() -> None:
    assert modes_of_classes(np.array([0, 1]), 3, np.array([0, 2])).divergence == np.inf
    assert modes_of_classes(np.array([0, 0]), 3, np.array([0, 2])).divergence == pytest.approx(np.log(2))
    assert frequency_divergence(np.array([1, 3]), np.array([0.5, 0.5])) > 0


def test_true_samples_of_25_gaussians_cover_all_and_3_deviations_hold_their_share() -> None:
    random = np.random.default_rng(0)
    points = GRID[random.integers(0, 25, 20_000)] + 0.01 * random.normal(size=(20_000, 2))
    found = modes_of_centers(points.astype(np.float32), GRID, 0.03)
    share = chi2.cdf(9, 2)
    assert (found.covered, found.modes) == (25, 25)
    assert found.high_quality == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / 20_000))
    # 2 N KL of even draws is chi-squared with 24 degrees of freedom.
    assert found.divergence < chi2.isf(1e-4, 24) / (2 * 20_000)


def test_a_generator_of_one_mode_and_one_between_the_modes() -> None:
    found = modes_of_centers(np.tile(GRID[7], (40, 1)), GRID, 0.03)
    assert (found.covered, found.high_quality) == (1, 1)
    assert found.divergence == pytest.approx(np.log(25))
    assert found.counts[7] == 40
    nowhere = modes_of_centers(np.tile(GRID[7] + 0.2, (40, 1)), GRID, 0.03)
    assert (nowhere.covered, nowhere.high_quality) == (0, 0)
    assert np.isnan(nowhere.divergence)


def test_the_radius_belongs_to_the_mode_and_a_mode_may_ask_for_more_samples() -> None:
    points = np.array([[0.0, 0.5], [0.0, 0.6], [1.0, 0.0], [1.0, 0.0]])
    centers = np.array([[0.0, 0.0], [1.0, 0.0]])
    found = modes_of_centers(points, centers, 0.5)
    np.testing.assert_array_equal(found.counts, [1, 2])
    assert found.high_quality == 0.75
    assert modes_of_centers(points, centers, 0.5, min_samples=2).covered == 1


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999), block=st.integers(1, 50))
def test_order_rotation_and_blocks_change_nothing(seed: int, block: int) -> None:
    random = np.random.default_rng(seed)
    points, centers = random.normal(size=(40, 3)), random.normal(size=(6, 3))
    rotation, _ = np.linalg.qr(random.normal(size=(3, 3)))
    found = modes_of_centers(points, centers, 0.9)
    distances = np.linalg.norm(points[:, None] - centers, axis=2)
    good = distances.min(1) <= 0.9
    np.testing.assert_array_equal(found.counts, np.bincount(distances.argmin(1)[good], minlength=6))
    turned = modes_of_centers(random.permutation(points) @ rotation, centers @ rotation, 0.9)
    np.testing.assert_array_equal(turned.counts, found.counts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mode_coverage, "BLOCK", block)
        np.testing.assert_array_equal(modes_of_centers(points, centers, 0.9).counts, found.counts)


def test_what_cannot_be_measured_is_refused_in_a_sentence() -> None:
    with pytest.raises(JudgementError, match="samples run from 0 to 5, and there are 5"):
        modes_of_classes(np.array([0, 5]), 5)
    with pytest.raises(JudgementError, match="reference run from -1"):
        modes_of_classes(np.array([0]), 5, np.array([-1]))
    with pytest.raises(JudgementError, match="shape"):
        modes_of_classes(np.zeros(0, np.int64), 5)
    with pytest.raises(JudgementError, match="min_samples is 0"):
        modes_of_classes(np.array([0]), 5, min_samples=0)
    with pytest.raises(JudgementError, match="fakes contain NaN"):
        modes_of_centers(np.full((3, 2), np.nan), GRID, 0.03)
    with pytest.raises(JudgementError, match="above 0"):
        modes_of_centers(GRID, GRID, 0.0)
    with pytest.raises(JudgementError, match="3 and 2 dimensions"):
        modes_of_centers(np.zeros((3, 3)), GRID, 0.03)
