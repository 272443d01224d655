"""The figures of random halves are those that each half has by itself."""

import numpy as np
import pytest

from kennel.evaluation.metrics import _halves
from kennel.evaluation.metrics._halves import metrics_of_halves
from kennel.evaluation.metrics.prdc import harmonic_mean, manifolds


def cloud(count: int, dimension: int, seed: int) -> np.ndarray:
    return np.random.default_rng([seed, dimension]).standard_normal((count, dimension)).astype(np.float32)


@pytest.mark.parametrize("near", [_halves.NEAREST_KEPT, 4], ids=["usual", "too few remembered"])
@pytest.mark.parametrize(
    ("count", "dimension", "k", "density_k"), [(61, 2, 3, 5), (200, 16, 3, 5), (90, 64, 7, 2)]
)
def test_each_half_has_the_figures_that_the_metrics_give_it(
    count: int, dimension: int, k: int, density_k: int, near: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_halves, "NEAREST_KEPT", near)
    images, reference = 0.9 * cloud(count, dimension, 1) + 0.2, cloud(count, dimension, 2)
    half = count // 2
    found = list(metrics_of_halves(images, reference, half, 3, k, density_k, np.random.default_rng(0)))
    assert len(found) == 3
    random = np.random.default_rng(0)
    for pair in found:
        orders = [random.permutation(count) for _ in range(2)]
        for part, figures in zip((0, half), pair, strict=True):
            fakes, reals = (np.sort(order[part : part + half]) for order in orders)
            whole = manifolds(images[fakes], reference[reals], k, density_k)
            f1 = harmonic_mean(whole.precision, whole.recall)
            assert figures == pytest.approx(
                [whole.precision, whole.recall, f1, whole.density, whole.coverage], abs=1e-12
            )


def test_equal_rows_are_each_others_neighbours_and_cover_one_another() -> None:
    rows = np.repeat(cloud(20, 8, 3), 3, axis=0)
    for pair in metrics_of_halves(rows, rows, 30, 2, 1, 1, np.random.default_rng(1)):
        for precision, recall, f1, density, coverage in pair:
            assert 0 < precision <= 1
            assert 0 < recall <= 1
            assert 0 < f1 <= 1
            assert density <= 1
            assert coverage <= 1
