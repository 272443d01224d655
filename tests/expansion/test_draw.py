"""Copies and repetitions are drawn again; too many of them end it."""

import numpy as np
import pytest

from generators import noise
from kennel.errors import RunError
from kennel.evaluation.copy_guard import CopyGuard
from kennel.expansion.draw import SPARE, AcceptedImages
from kennel.expansion.gaps import ClassGap
from kennel.features.pixels import PixelCells


def guard_of(scarce_set, label: int) -> CopyGuard:
    return CopyGuard(scarce_set.at(np.flatnonzero(scarce_set.labels == label)), PixelCells())


def test_images_come_in_the_order_of_seeds_and_stop_when_there_are_enough(scarce_set, fresh):
    images = AcceptedImages(fresh, ClassGap(1, "class 1", 4, 5), guard_of(scarce_set, 1), 100, batch=2)
    found = list(images)
    assert [seed for seed, _ in found] == [100, 101, 102, 103, 104]
    assert all(np.array_equal(pixels, noise(seed, 1)) for seed, pixels in found)
    assert (images.rejected, images.next_seed) == (0, 105)
    assert fresh.asked == list(range(100, 106))  # the third batch is the last one that is drawn


@pytest.mark.parametrize("batch", [1, 3, 64])
def test_what_is_accepted_does_not_depend_on_the_batch(scarce_set, fixed, batch):
    own = scarce_set.at(np.flatnonzero(scarce_set.labels == 1))
    generator = fixed(lambda seed, label: own[seed % 4] if seed % 3 == 0 else noise(seed, label))
    gap = ClassGap(1, "class 1", 4, 6)
    images = AcceptedImages(generator, gap, guard_of(scarce_set, 1), 0, batch=batch)
    assert [seed for seed, _ in images] == [1, 2, 4, 5, 7, 8]
    assert (images.rejected, images.next_seed) == (3, 9)


def test_a_repeated_image_is_rejected(scarce_set, fixed):
    generator = fixed(lambda seed, label: noise(seed // 2, label))
    images = AcceptedImages(generator, ClassGap(1, "class 1", 4, 3), guard_of(scarce_set, 1), 0)
    assert [seed for seed, _ in images] == [0, 2, 4]
    assert images.rejected == 2


def test_a_generator_that_copies_too_much_is_refused_in_a_sentence(scarce_set, fixed):
    own = scarce_set.at(np.flatnonzero(scarce_set.labels == 1))
    generator = fixed(lambda seed, label: own[seed % 4, ..., ::-1])
    images = AcceptedImages(generator, ClassGap(1, "class 1", 4, 10), guard_of(scarce_set, 1), 0)
    with pytest.raises(
        RunError, match=r"of the class 'class 1' were copies of its 4 training images"
    ) as error:
        list(images)
    assert images.rejected == SPARE + 10 + 1
    assert "--max-rejected" in str(error.value)


def test_the_share_that_may_be_rejected_can_be_changed(scarce_set, fixed):
    own = scarce_set.at(np.flatnonzero(scarce_set.labels == 1))
    generator = fixed(lambda seed, label: noise(seed, label) if seed % 5 == 4 else own[0])
    gap = ClassGap(1, "class 1", 4, 40)
    with pytest.raises(RunError, match="were copies"):
        list(AcceptedImages(generator, gap, guard_of(scarce_set, 1), 0))
    patient = AcceptedImages(generator, gap, guard_of(scarce_set, 1), 0, max_rejected=0.8)
    assert len(list(patient)) == 40
    assert patient.rejected == 160
