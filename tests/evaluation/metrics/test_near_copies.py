"""Planted copies come first, named with their source and their transformation."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from kennel.data.images import read_rows
from kennel.evaluation.metrics import near_copies
from kennel.evaluation.metrics.builtin.memorization import judge_memorization
from kennel.evaluation.metrics.context import FeatureSide, MetricContext
from kennel.evaluation.metrics.mifid import distances_within, neighborhoods, sampled_distances_within
from kennel.evaluation.metrics.near_copies import allowed_difference, suspects
from kennel.features.extract import extract_rows
from kennel.features.moments import moments
from kennel.features.pixels import PixelCells


class Arrays:
    """Images in memory as a set; counts the images that were read."""

    def __init__(self, images: np.ndarray) -> None:
        self.images, self.read = images, 0

    name = fingerprint = "arrays"

    @property
    def shape(self) -> tuple[int, int, int]:
        return tuple(int(length) for length in self.images.shape[1:])  # type: ignore[return-value]

    def __len__(self) -> int:
        return len(self.images)

    def batches(self, size: int) -> Iterator[np.ndarray]:
        for start in range(0, len(self.images), size):
            self.read += len(self.images[start : start + size])
            yield self.images[start : start + size]


def smooth(count: int, seed: int, side: int = 16) -> np.ndarray:
    """Random pictures of 4x4 coloured fields."""
    coarse = np.random.default_rng(seed).integers(0, 256, (count, 3, 4, 4), dtype=np.uint8)
    return coarse.repeat(side // 4, 2).repeat(side // 4, 3)


def evidence_of(images: np.ndarray, reference: np.ndarray, rows: Any = None) -> MetricContext:
    one, other = Arrays(images), Arrays(reference)
    extractor = PixelCells()
    features = extract_rows(one, extractor, rows).features
    real = extract_rows(other, extractor).features
    return MetricContext(
        FeatureSide(features, source=one, rows=rows),
        FeatureSide(real, source=other),
        moments(real),
        extractor.name,
    )


@pytest.fixture
def planted() -> MetricContext:
    """60 pictures, of which 7 is training picture 30, 20 is 11 mirrored, 41 is 5 moved by (1, -2)."""
    reference, images = smooth(80, 0), smooth(60, 1)
    images[7] = reference[30]
    images[20] = reference[11][:, :, ::-1]
    images[41] = np.roll(reference[5], (-2, 1), (1, 2))
    return evidence_of(images, reference)


def test_planted_copies_come_first_with_source_and_transformation(planted: MetricContext) -> None:
    found = suspects(planted)
    assert len(found) == 60
    told = {one.image: (one.reference, one.verdict) for one in found if one.copied}
    # The mirror is no neighbor by this extractor's layout, so 20 is not looked up.
    assert told == {7: (30, "same picture"), 41: (5, "same picture, shifted by (1, -2)")}
    assert {one.image for one in found[:2]} == {7, 41}
    assert not any(one.copied for one in found[2:])


def test_the_first_few_alone_are_the_same(planted: MetricContext) -> None:
    whole = suspects(planted)
    few = suspects(evidence_of(planted.images.source.images, planted.reference.source.images), 10)  # type: ignore[union-attr]
    assert len(few) == 10
    assert few[:2] == whole[:2]


def test_indices_are_those_of_the_set_that_the_subset_was_drawn_from() -> None:
    reference, images = smooth(40, 0), smooth(50, 1)
    images[33] = reference[8]
    found = suspects(evidence_of(images, reference, np.arange(1, 50, 2)))[0]
    assert (found.image, found.reference, found.copied) == (33, 8, True)


def test_features_alone_give_a_ranking_without_verdicts(planted: MetricContext) -> None:
    bare = MetricContext(
        FeatureSide(planted.images.features),
        FeatureSide(planted.reference.features),
        planted.reference_moments,
        planted.extractor,
    )
    found = suspects(bare)
    assert found[0].image == 7
    assert {one.verdict for one in found} == {""}


def test_pixels_are_compared_until_a_block_holds_no_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_copies, "MIN_COMPARED", 10)
    reference, images = smooth(80, 0), smooth(60, 1)
    images[:15] = reference[20:35]
    found = suspects(evidence_of(images, reference))
    assert sum(one.copied for one in found) == 15
    assert sum(one.alignment is not None for one in found) == 30, "two blocks with copies, one without"


def test_the_judgement_lists_the_copies(planted: MetricContext) -> None:
    finding = judge_memorization(planted)
    first = finding.details["most_suspicious"][0]
    assert first["image"] == 7
    assert first["reference"] == 30
    assert first["distance"] == pytest.approx(0, abs=1e-12)
    assert first["ratio"] == 0
    assert (first["verdict"], first["rms"]) == ("same picture", 0)
    assert finding.details["copies"] == 2
    assert finding.details["compared"] == 60


def test_a_ratio_is_the_distance_by_that_to_the_third_nearest() -> None:
    training = np.array([[1, 0], [1, 1], [1, 2], [0, 1]], np.float32)
    fakes = np.array([[2, 0], [1, 0.5]], np.float32)
    found = neighborhoods(fakes, training)
    cosines = 1 - np.array([1, 2**-0.5, 5**-0.5, 0])
    np.testing.assert_allclose(found.distances[0], cosines, atol=1e-7)
    assert found.training[0].tolist() == [0, 1, 2, 3]
    assert found.ratios[0] == 0
    assert found.ratios[1] == pytest.approx(found.distances[1, 0] / found.distances[1, 2])


def test_an_exact_copy_of_what_the_training_set_holds_thrice_has_ratio_0() -> None:
    rows = np.random.default_rng(0).normal(size=(20, 24)).astype(np.float32)
    found = neighborhoods(rows, np.repeat(rows, 3, axis=0))
    assert found.ratios.tolist() == [0] * 20


def test_a_sample_of_the_distances_within_a_set_is_part_of_them_all() -> None:
    rows = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)
    rows[3] = rows[4] = rows[5] = rows[6]
    whole = distances_within(rows)
    np.testing.assert_array_equal(sampled_distances_within(rows, 50, 0), whole)
    order = np.random.default_rng([0, 50, 20]).permutation(50)
    np.testing.assert_allclose(sampled_distances_within(rows, 20, 0), whole[np.sort(order[:20])], atol=1e-12)


def test_rows_are_read_in_the_order_asked_for_and_no_further_than_needed() -> None:
    whole = Arrays(np.random.default_rng(0).integers(0, 256, (300, 1, 4, 4), dtype=np.uint8))
    rows = np.array([70, 2, 70, 9])
    np.testing.assert_array_equal(read_rows(whole, rows), whole.images[rows])
    assert whole.read == 128, "no further than the batch of the last"
    assert torch.equal(
        torch.from_numpy(read_rows(whole, rows, lambda pixels: pixels[:, :, :2])),
        torch.from_numpy(whole.images[rows][:, :, :2]),
    )


def test_pictures_that_are_alike_by_nature_are_no_copies() -> None:
    # One garment in all of them, and a little of each one's own: 0.1 of the variance is left between two.
    garment = smooth(1, 5).astype(np.int64)
    own = np.random.default_rng(6).integers(-20, 21, (140, 3, 16, 16))
    alike = np.clip(garment + own, 0, 255).astype(np.uint8)
    reference, images = alike[:80], alike[80:].copy()
    images[9] = reference[33]
    evidence = evidence_of(images, reference)
    allowed, among_real = allowed_difference(evidence)
    assert allowed < 0.1
    assert among_real == 0.0
    assert [one.image for one in suspects(evidence) if one.copied] == [9]
    details = judge_memorization(evidence).details
    assert (details["copies"], details["copies_among_the_reference"]) == (1, 0.0)
