"""What the registered metrics do with the evidence beyond the functions that they call."""

import numpy as np
import pytest

from evidence import evidence
from kennel.evaluation.metrics.base import METRICS
from kennel.evaluation.metrics.builtin import distances
from kennel.evaluation.metrics.kid import kid_of_all_pairs


def clouds(count: int, dimension: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, dimension)).astype(np.float32)


def by_class(count: int, seed: int) -> np.ndarray:
    """Four classes one after another, as the folders of a set stand."""
    place = np.arange(count) * 4 // count
    return clouds(count, 6, seed) + 3 * np.eye(6, dtype=np.float32)[place]


def test_the_error_of_kid_is_of_all_classes_though_it_looks_at_some_rows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    images, reference = by_class(800, 1), by_class(800, 2) + np.float32(0.3)
    whole = kid_of_all_pairs(images, reference).standard_error
    monkeypatch.setattr(distances, "MAX_ERROR_ROWS", 200)
    interval = METRICS["kid"].compute(evidence(images, reference)).interval
    assert interval is not None
    # 200 rows tell an error to a tenth or so; the first 200 are of one class, and tell twice as much.
    assert (interval[1] - interval[0]) / 2 / 1.96 == pytest.approx(whole, rel=0.2)


def test_parts_of_equal_sides_are_random_and_no_more_than_there_are() -> None:
    found = evidence(clouds(300, 4, 1), clouds(200, 4, 2))
    images, reference = found.equal_count_subsets(50)
    assert images.shape == reference.shape == (50, 4)
    assert not np.array_equal(reference, found.reference.features[:50])
    everything, _ = found.equal_count_subsets(1000)
    np.testing.assert_array_equal(everything, found.equal_count_features[0])


@pytest.mark.parametrize("dimension", [5, 37, 64])
def test_copies_are_suspected_where_the_reference_has_duplicates(dimension: int) -> None:
    # More than 1% of the reference occurs twice: its own nearest distances begin at 0.
    reference = clouds(200, dimension, 3)
    reference[:20] = reference[20:40]
    copies, fresh = reference[50:150], clouds(100, dimension, 4)
    found = METRICS["memorisation"].compute(evidence(copies, reference))
    assert found.details["threshold"] == 0.0
    assert found.value == 1.0
    assert METRICS["memorisation"].compute(evidence(fresh, reference)).value == 0.0
