import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kennel.errors import JudgementError
from kennel.evaluation.metrics._products import ProductName
from kennel.evaluation.metrics.prdc import harmonic_mean, manifolds

Rows = npt.NDArray[np.float32]


def rows(count: int, dimension: int, seed: int, offset: float = 0.0) -> Rows:
    random = np.random.default_rng(seed)
    return (random.standard_normal((count, dimension)) + offset).astype(np.float32)


def by_definition(fakes: Rows, reals: Rows, k: int) -> tuple[float, float, float, float]:
    """Precision, recall, density, coverage from all distances at once."""

    def distances(one: Rows, other: Rows) -> npt.NDArray[np.float64]:
        return np.linalg.norm(one[:, None].astype(np.float64) - other[None].astype(np.float64), axis=-1)

    across = distances(fakes, reals)
    fake_reach = np.sort(distances(fakes, fakes), 1)[:, k]
    real_reach = np.sort(distances(reals, reals), 1)[:, k]
    return (
        float((across <= real_reach).any(1).mean()),
        float((across <= fake_reach[:, None]).any(0).mean()),
        float((across < real_reach).sum(1).mean() / k),
        float((across < real_reach).any(0).mean()),
    )


@pytest.mark.parametrize("product", ["float32", "int8"])
@settings(deadline=None, max_examples=20)
@given(
    sizes=st.tuples(st.integers(8, 60), st.integers(8, 60), st.sampled_from([2, 64, 80])),
    k=st.integers(1, 6),
    offset=st.sampled_from([0.0, 0.2, 5.0]),
    seed=st.integers(0, 1000),
)
def test_all_four_are_those_of_the_definition(
    product: ProductName, sizes: tuple[int, int, int], k: int, offset: float, seed: int
) -> None:
    fakes, reals = rows(sizes[0], sizes[2], seed, offset), rows(sizes[1], sizes[2], seed + 1)
    found = manifolds(fakes, reals, k, k, product=product)
    truth = by_definition(fakes, reals, k)
    assert (found.precision, found.recall, found.density, found.coverage) == pytest.approx(truth, abs=1e-12)


@pytest.mark.parametrize("product", ["float32", "int8"])
@pytest.mark.parametrize(("k", "of_density"), [(3, 5), (5, 3), (1, 6)])
def test_precision_and_recall_have_one_k_and_density_and_coverage_another(
    product: ProductName, k: int, of_density: int
) -> None:
    fakes, reals = rows(80, 64, 1, 0.1), rows(80, 64, 2)
    found = manifolds(fakes, reals, k, of_density, product=product)
    truth = *by_definition(fakes, reals, k)[:2], *by_definition(fakes, reals, of_density)[2:]
    assert (found.precision, found.recall, found.density, found.coverage) == pytest.approx(truth, abs=1e-12)


def test_the_published_ks_are_3_and_5() -> None:
    found = manifolds(rows(20, 8, 1), rows(20, 8, 2))
    assert (found.neighbors, found.density_neighbors) == (3, 5)


def test_a_set_against_itself_is_precise_and_whole() -> None:
    own = rows(60, 64, 1)
    found = manifolds(own, own)
    assert found.precision == found.recall == found.coverage == 1.0


def test_copies_of_real_images_lie_on_the_border_of_their_neighbours_balls() -> None:
    # On a line 0, 1, 2, ... with k = 1 every ball reaches exactly to the next: in by <=, out by <.
    line = np.arange(6, dtype=np.float32)[:, None]
    found = manifolds(line, line, 1, 1)
    assert found.precision == 1.0
    assert found.density == 1.0, "of the three balls that touch an inner point only its own counts strictly"


def test_dropped_modes_lower_recall_and_coverage_and_not_precision() -> None:
    random = np.random.default_rng(0)
    centres = 20 * random.standard_normal((5, 64))

    def around(modes: npt.NDArray[np.int64], seed: int) -> Rows:
        noise = np.random.default_rng(seed).standard_normal((len(modes), 64))
        return (centres[modes] + noise).astype(np.float32)

    reals = around(np.arange(300) % 5, 1)
    whole, dropped = around(np.arange(300) % 5, 2), around(np.arange(300) % 2, 3)
    full, part = manifolds(whole, reals), manifolds(dropped, reals)
    assert part.recall < full.recall / 2
    assert part.coverage < full.coverage / 2
    assert part.precision > full.precision - 0.05


def test_precision_and_recall_swap_with_the_sides() -> None:
    one, other = rows(50, 64, 4), rows(50, 64, 5, 0.1)
    there, back = manifolds(one, other), manifolds(other, one)
    assert (there.precision, there.recall) == (back.recall, back.precision)


def test_the_order_of_rows_changes_nothing() -> None:
    one, other = rows(50, 64, 6), rows(70, 64, 7, 0.1)
    there, back = manifolds(one, other), manifolds(one[::-1].copy(), other[::-1].copy())
    assert (there.precision, there.recall, there.density, there.coverage) == (
        back.precision,
        back.recall,
        back.density,
        back.coverage,
    )


def test_constant_features_are_one_point_within_itself() -> None:
    same = np.full((10, 64), 3.0, np.float32)
    found = manifolds(same, same)
    assert found.precision == found.recall == 1.0
    assert found.density == found.coverage == 0.0, "no point lies strictly within a ball of radius 0"


def test_too_few_images_and_broken_features_are_refused() -> None:
    good = rows(10, 8, 1)
    with pytest.raises(JudgementError, match="the images are 3"):
        manifolds(good[:3], good, 3, 3)
    with pytest.raises(JudgementError, match="the reference are 3"):
        manifolds(good, good[:3], 3, 3)
    bad = good.copy()
    bad[0, 0] = np.inf
    with pytest.raises(JudgementError, match="infinite"):
        manifolds(bad, good)


def test_f1_is_the_harmonic_mean_and_0_where_both_are() -> None:
    assert harmonic_mean(0.5, 1.0) == pytest.approx(2 / 3)
    assert harmonic_mean(0.0, 0.0) == 0.0
