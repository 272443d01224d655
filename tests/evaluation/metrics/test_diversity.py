import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist

from kennel.errors import JudgementError
from kennel.evaluation.metrics import diversity as module
from kennel.evaluation.metrics.diversity import diversity, relative_diversity, vendi


def cloud(count: int, dimension: int, seed: int, scale: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, scale, (count, dimension))


@settings(max_examples=30, deadline=None)
@given(count=st.integers(3, 60), block=st.integers(1, 70), seed=st.integers(0, 999))
def test_the_mean_distance_is_scipy_s_whatever_the_blocks(count: int, block: int, seed: int) -> None:
    rows = cloud(count, 5, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK", block)
        found = diversity(rows)
    assert found.mean_distance == pytest.approx(pdist(rows).mean(), rel=1e-10)
    assert found.count == count


def test_a_large_common_offset_costs_few_digits() -> None:
    rows = cloud(50, 5, 0)
    assert diversity(rows + 1e6).mean_distance == pytest.approx(pdist(rows).mean(), rel=1e-8)
    in_float32 = diversity((rows + 100).astype(np.float32))
    assert in_float32.mean_distance == pytest.approx(pdist(rows).mean(), rel=1e-5)


def test_gaussians_have_their_known_mean_distance() -> None:
    # x - x' is N(0, 2) in each of 2 dimensions: its length is Rayleigh with mean sqrt(2) sqrt(pi / 2).
    found = diversity(cloud(3000, 2, 1))
    assert found.mean_distance == pytest.approx(np.sqrt(np.pi), abs=3 * found.standard_error)


def test_equal_images_have_no_diversity() -> None:
    found = diversity(np.full((20, 4), 0.3, np.float32))
    assert (found.mean_distance, found.standard_error) == (0, 0)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999), scale=st.sampled_from([1e-3, 1.0, 1e4]))
def test_order_and_rotation_change_nothing_and_scale_its_own(seed: int, scale: float) -> None:
    rows = cloud(30, 6, seed)
    rotation, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(6, 6)))
    changed = diversity((rows @ rotation * scale)[np.random.default_rng(seed).permutation(30)])
    found = diversity(rows)
    assert changed.mean_distance == pytest.approx(found.mean_distance * scale, rel=1e-9)
    assert changed.standard_error == pytest.approx(found.standard_error * scale, rel=1e-9)


def test_the_standard_error_is_the_spread_of_repeated_draws() -> None:
    draws = 300
    mixed = [cloud(100, 3, seed) * np.where(np.arange(100) % 4, 1, 4)[:, None] for seed in range(draws)]
    found = [diversity(np.random.default_rng(7).permutation(rows)) for rows in mixed]
    plain = [diversity(cloud(100, 3, seed + 999)) for seed in range(draws)]
    spread = np.std([one.mean_distance for one in plain], ddof=1)
    claimed = np.sqrt(np.mean([one.standard_error**2 for one in plain]))
    assert claimed / spread == pytest.approx(1, abs=3 / np.sqrt(2 * draws))
    assert np.mean([one.mean_distance for one in found]) > 1.5 * plain[0].mean_distance


def test_the_ratio_and_its_error() -> None:
    draws = 200
    found = [relative_diversity(cloud(80, 4, s, 0.5), cloud(120, 4, s + 999)) for s in range(draws)]
    ratios = np.array([one.ratio for one in found])
    assert ratios.mean() == pytest.approx(0.5, abs=0.01)
    claimed = np.sqrt(np.mean([one.standard_error**2 for one in found]))
    assert claimed / ratios.std(ddof=1) == pytest.approx(1, abs=3 / np.sqrt(2 * draws))
    own = relative_diversity(cloud(50, 4, 0), cloud(50, 4, 0))
    assert own.ratio == 1
    assert own.fakes == own.reference


def test_the_vendi_score_counts_different_images() -> None:
    assert vendi(np.eye(7)) == pytest.approx(7)
    assert vendi(np.tile(np.eye(5), (8, 1)) * 3.0) == pytest.approx(5)
    assert vendi(np.ones((30, 4))) == pytest.approx(1, abs=1e-9)
    uneven = np.repeat(np.eye(2), (30, 10), axis=0)
    assert vendi(uneven) == pytest.approx(np.exp(-0.75 * np.log(0.75) - 0.25 * np.log(0.25)))


@settings(max_examples=20, deadline=None)
@given(count=st.integers(2, 30), dimension=st.integers(1, 30), seed=st.integers(0, 99))
def test_the_vendi_score_is_that_of_the_whole_kernel(count: int, dimension: int, seed: int) -> None:
    rows = cloud(count, dimension, seed)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    values = np.linalg.eigvalsh(unit @ unit.T / count)
    values = values[values > 1e-14]
    expected = np.exp(-(values * np.log(values)).sum())
    assert vendi(rows) == pytest.approx(expected, rel=1e-9)
    assert vendi(rows * 5) == pytest.approx(expected, rel=1e-9)
    assert vendi(np.tile(rows, (3, 1))) == pytest.approx(expected, rel=1e-9)
    assert 1 - 1e-9 <= expected <= min(count, dimension) + 1e-9


def test_what_cannot_be_measured_is_refused_in_a_sentence() -> None:
    good, bad = cloud(5, 4, 0), np.full((5, 4), np.nan)
    for measure in (diversity, vendi):
        with pytest.raises(JudgementError, match="fakes contain NaN"):
            measure(bad)
        with pytest.raises(JudgementError, match="images, and the fakes are 1"):
            measure(good[:1])
    with pytest.raises(JudgementError, match="reference contain NaN"):
        relative_diversity(good, bad)
    with pytest.raises(JudgementError, match="all images of the reference are equal"):
        relative_diversity(good, np.ones((5, 4)))
    with pytest.raises(JudgementError, match="features of an image are all 0"):
        vendi(np.zeros((5, 4)))
