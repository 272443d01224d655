import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kennel.errors import JudgementError
from kennel.evaluation.metrics.mifid import mifid, nearest_distances


def kaggle_distance(generated: np.ndarray, training: np.ndarray) -> float:
    """The competition's arithmetic, written plainly in float64."""
    generated = generated[generated.sum(1) != 0].astype(np.float64)
    training = training[training.sum(1) != 0].astype(np.float64)
    generated = generated / np.linalg.norm(generated, axis=1, keepdims=True)
    training = training / np.linalg.norm(training, axis=1, keepdims=True)
    return float((1.0 - np.abs(generated @ training.T)).min(axis=1).mean())


def rows(count: int, dimension: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, dimension)).astype(np.float32)


@settings(max_examples=20, deadline=None)
@given(fakes=st.integers(1, 40), training=st.integers(1, 60), seed=st.integers(0, 99))
def test_the_mean_is_the_competition_s(fakes: int, training: int, seed: int) -> None:
    one, other = rows(fakes, 24, seed), rows(training, 24, seed + 1)
    assert nearest_distances(one, other).mean() == pytest.approx(kaggle_distance(one, other), abs=1e-7)


def test_copies_of_20_training_images_are_at_0_and_punished() -> None:
    training = rows(500, 32, 0)
    copies = training[np.random.default_rng(1).integers(0, 20, 300)]
    distance = float(nearest_distances(copies, training).mean())
    assert distance < 1e-12
    assert float(nearest_distances(training, copies).mean()) > 0.3, "the other direction would not see it"
    scored = mifid(50.0, distance)
    assert scored.penalty == distance
    assert scored.value > 1e12


def test_a_fifth_of_copies_among_new_images_is_not_punished() -> None:
    training = rows(500, 32, 2)
    fakes = np.concatenate([training[:100], rows(400, 32, 3)])
    scored = mifid(50.0, float(nearest_distances(fakes, training).mean()))
    assert scored.penalty == 1
    assert scored.value == pytest.approx(50.0)


def test_the_threshold_is_strict_and_divides_by_the_distance_below_it() -> None:
    assert mifid(10.0, 0.1).penalty == 1
    assert mifid(10.0, 0.05).value == pytest.approx(200.0)
    assert mifid(10.0, 0.2, epsilon=0.25).value == pytest.approx(50.0)
    assert mifid(10.0, 0.0).value == pytest.approx(1e16)


def test_opposite_features_count_as_near_as_the_competition_takes_the_absolute_cosine() -> None:
    training = rows(5, 8, 4)
    assert nearest_distances(-training, training).max() < 1e-12


def test_rows_whose_features_sum_to_0_are_dropped_on_both_sides() -> None:
    fakes = np.array([[0, 0], [1, -1], [1, 0]], np.float32)
    training = np.array([[0, 0], [1, 1]], np.float32)
    np.testing.assert_allclose(nearest_distances(fakes, training), [1 - 0.5**0.5], rtol=1e-6)


def test_what_cannot_be_measured_is_refused_in_a_sentence() -> None:
    good, bad = rows(3, 4, 7), np.full((2, 4), np.nan, np.float32)
    with pytest.raises(JudgementError, match="fakes contain NaN"):
        nearest_distances(bad, good)
    with pytest.raises(JudgementError, match="reference contain NaN"):
        nearest_distances(good, bad)
    with pytest.raises(JudgementError, match="of the fakes are zero"):
        nearest_distances(np.zeros((2, 4), np.float32), good)
    with pytest.raises(JudgementError, match="of the reference are zero"):
        nearest_distances(good, np.zeros((2, 4), np.float32))
