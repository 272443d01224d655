import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kennel.errors import JudgementError
from kennel.evaluation.metrics import fid_per_class
from kennel.evaluation.metrics.fid import frechet_distance
from kennel.evaluation.metrics.fid_per_class import fid_by_class
from kennel.features.moments import moments

NAMES = ("cat", "dog", "bird")


def labelled(counts: list[int], seed: int, shift: float = 5.0) -> tuple[np.ndarray, np.ndarray]:
    """Classes that lie `shift` apart, in no order."""
    random = np.random.default_rng(seed)
    labels = random.permutation(np.repeat(np.arange(len(counts)), counts))
    return random.normal(size=(len(labels), 6)) + shift * labels[:, None], labels


def test_each_class_has_the_fid_of_its_own_images_and_the_mean_is_theirs() -> None:
    fakes, fake_labels = labelled([20, 30, 40], 0)
    reference, reference_labels = labelled([50, 4, 25], 1)
    found = fid_by_class(fakes, fake_labels, reference, reference_labels, NAMES)
    for label, name in enumerate(NAMES):
        own, other = fakes[fake_labels == label], reference[reference_labels == label]
        expected = frechet_distance(moments(own), moments(other))
        assert found.classes[label].fid == pytest.approx(expected, rel=1e-9)
        assert found.classes[label].name == name
        assert (found.classes[label].fakes, found.classes[label].reference) == (len(own), len(other))
    fids = [one.fid for one in found.classes.values()]
    assert found.mean == pytest.approx(np.mean(fids))
    assert found.worst == int(np.argmax(fids)) == 1
    assert found.not_measured == ()


def test_a_generator_that_ignores_its_labels_is_found_out() -> None:
    fakes, fake_labels = labelled([60, 60, 60], 2)
    reference, reference_labels = labelled([60, 60, 60], 3)
    honest = fid_by_class(fakes, fake_labels, reference, reference_labels, NAMES).mean
    swapped = fid_by_class(fakes, (fake_labels + 1) % 3, reference, reference_labels, NAMES).mean
    # Shifts of 5, 5 and 10 in 6 dimensions.
    assert swapped - honest == pytest.approx(6 * (25 + 25 + 100) / 3, rel=0.15)


def test_classes_with_too_few_images_are_listed_and_not_in_the_mean() -> None:
    fakes, fake_labels = labelled([20, 1, 30], 4)
    reference, reference_labels = labelled([20, 20, 0], 5)
    found = fid_by_class(fakes, fake_labels, reference, reference_labels, (*NAMES, "fish"))
    assert found.not_measured == (1, 2, 3)
    assert list(found.classes) == [0]
    assert found.mean == found.classes[0].fid


def test_two_images_a_side_are_enough_for_a_class() -> None:
    fakes, fake_labels = labelled([2, 5, 5], 7)
    reference, reference_labels = labelled([5, 2, 1], 8)
    found = fid_by_class(fakes, fake_labels, reference, reference_labels, NAMES)
    assert list(found.classes) == [0, 1]
    assert found.mean == pytest.approx((found.classes[0].fid + found.classes[1].fid) / 2)


def test_two_classes_of_one_name_stay_apart() -> None:
    fakes, labels = labelled([10, 10], 6)
    assert len(fid_by_class(fakes, labels, fakes, labels, ("crane", "crane")).classes) == 2


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 999), block=st.integers(1, 30))
def test_order_sides_blocks_and_rotation_change_nothing(seed: int, block: int) -> None:
    fakes, fake_labels = labelled([9, 12, 7], seed)
    reference, reference_labels = labelled([8, 8, 20], seed + 1)
    random = np.random.default_rng(seed)
    rotation, _ = np.linalg.qr(random.normal(size=(6, 6)))
    order = random.permutation(len(fakes))
    found = fid_by_class(fakes, fake_labels, reference, reference_labels, NAMES).mean
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fid_per_class, "BLOCK", block)
        changed = fid_by_class(
            reference @ rotation, reference_labels, fakes[order] @ rotation, fake_labels[order], NAMES
        )
    assert changed.mean == pytest.approx(found, rel=1e-7)
    assert fid_by_class(fakes, fake_labels, fakes, fake_labels, NAMES).mean == pytest.approx(0, abs=1e-9)


def test_what_cannot_be_measured_is_refused_in_a_sentence() -> None:
    rows, labels = labelled([2, 1, 1], 0)
    with pytest.raises(JudgementError, match="none of the 3 classes has 2 images"):
        fid_by_class(rows, labels, rows, np.array([1, 2, 1, 2]), NAMES)
    with pytest.raises(JudgementError, match="labels of shape"):
        fid_by_class(rows, labels[:3], rows, labels, NAMES)
    with pytest.raises(JudgementError, match="reference run from 0 to 2, and there are 2 classes"):
        fid_by_class(rows, np.zeros(4, np.int64), rows, labels, NAMES[:2])
    with pytest.raises(JudgementError, match="fakes run from -1"):
        fid_by_class(rows, labels - 1, rows, labels, NAMES)
    with pytest.raises(JudgementError, match="NaN"):
        fid_by_class(rows * np.nan, labels, rows, labels, NAMES)
