"""Copies are recognized, mirrored or not, and new images of the same kind are not."""

import numpy as np
import pytest

from kennel.data.images import ArrayImages
from kennel.errors import JudgementError
from kennel.evaluation.copy_guard import CopyGuard, guard_extractor
from kennel.features.pixels import PixelCells


def images(count: int, seed: int = 0) -> np.ndarray:
    """Random images whose cells are their pixels."""
    return np.random.default_rng(seed).integers(0, 256, (count, 1, 16, 16), dtype=np.uint8)


def test_a_training_image_is_a_copy_mirrored_or_not():
    training = images(50)
    guard = CopyGuard(training, PixelCells())
    assert guard.distances(training[:3]) == pytest.approx([0, 0, 0])
    assert guard.copies(training).all()
    assert guard.copies(training[:7, ..., ::-1]).all()


def test_a_slightly_changed_training_image_is_a_copy():
    training = images(50)
    near = np.clip(training.astype(int) + images(50, 1) % 9 - 4, 0, 255).astype(np.uint8)
    assert CopyGuard(training, PixelCells()).copies(near).all()


def test_of_new_images_of_the_same_kind_about_the_quantile_is_refused():
    guard = CopyGuard(images(400), PixelCells(), quantile=0.1)
    share = float(guard.copies(images(400, 1)).mean())
    assert abs(share - 0.1) < 4 * (0.1 * 0.9 / 400) ** 0.5 * 2**0.5  # the threshold is itself estimated


def test_the_threshold_is_the_quantile_of_the_distances_to_other_images_of_either_orientation():
    training = images(6)
    cells = PixelCells()
    guard = CopyGuard(training, cells, quantile=0.5)
    flat = training.reshape(6, -1).repeat(3, 0).reshape(6, -1) / 127.5  # three equal channels
    turned = training[..., ::-1].reshape(6, -1).repeat(3, 0).reshape(6, -1) / 127.5
    distances = [
        min(
            np.linalg.norm(one - flat[other])
            for other in range(6)
            if other != index
            for one in (flat[index], turned[index])
        )
        for index in range(6)
    ]
    assert guard.threshold == pytest.approx(np.quantile(distances, 0.5), rel=1e-5)


def test_equal_training_images_do_not_make_the_threshold_zero():
    training = images(10)
    doubled = np.concatenate([training, training])
    assert CopyGuard(doubled, PixelCells()).threshold == 0  # all have a twin: only exact copies are known
    mixed = np.concatenate([training, training[:4]])
    assert CopyGuard(mixed, PixelCells()).threshold > 0


def test_a_symmetric_image_is_not_its_own_neighbor():
    training = images(8)
    training[0] = np.minimum(training[0], training[0, ..., ::-1])
    assert CopyGuard(training, PixelCells()).threshold > 0


def test_a_blurred_image_is_near_but_not_nearer_to_one_training_image_than_to_others():
    training = images(200)
    guard = CopyGuard(training, PixelCells())
    gray = guard.match(np.full((3, 1, 16, 16), 128, np.uint8))
    assert (gray.distances <= guard.threshold).all()
    assert (guard.nearness(gray) > 1).all()
    copies = guard.match(training[:5, ..., ::-1])
    assert (guard.nearness(copies) <= 1).all()
    assert copies.training.tolist() == [0, 1, 2, 3, 4]
    assert copies.mirrored.all()


def test_a_copy_of_an_image_that_occurs_three_times_is_near():
    training = images(40)
    guard = CopyGuard(np.concatenate([training, training[:1], training[:1]]), PixelCells())
    assert guard.nearness(guard.match(training[:1])).tolist() == [0]


def test_the_thresholds_of_some_images_are_like_those_of_all_and_a_set_is_like_its_array():
    training = images(400)
    whole = CopyGuard(training, PixelCells(), quantile=0.1)
    some = CopyGuard(ArrayImages(training), PixelCells(), quantile=0.1, probes=200)
    assert some.threshold == pytest.approx(whole.threshold, rel=0.02)
    assert some.ratio_threshold == pytest.approx(whole.ratio_threshold, rel=0.02)
    assert 0 < whole.real_share <= 0.1
    shown = []
    CopyGuard(training, PixelCells(), on_progress=lambda done, total: shown.append((done, total)))
    assert shown[-1] == (400, 400)


def test_of_new_images_at_most_about_the_quantile_is_below_both_thresholds():
    guard = CopyGuard(images(400), PixelCells(), quantile=0.1)
    share = float((guard.nearness(guard.match(images(400, 1))) <= 1).mean())
    assert share < 0.1 + 4 * (0.1 * 0.9 / 400) ** 0.5 * 2**0.5


def test_what_cannot_be_guarded_is_refused_in_a_sentence():
    with pytest.raises(JudgementError, match="too few to recognize copies"):
        CopyGuard(images(1), PixelCells())
    with pytest.raises(JudgementError, match="between 0 and 1"):
        CopyGuard(images(4), PixelCells(), quantile=1.0)


def test_small_images_are_compared_by_pixels():
    assert guard_extractor("auto", 28).name == "pixels"
    assert guard_extractor("pixels", 64).name == "pixels"
