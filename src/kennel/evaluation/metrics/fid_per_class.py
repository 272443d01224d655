"""FID of each class, and its mean: intra-FID (Miyato and Koyama 2018, arXiv 1802.05637).

A conditional generator that ignores its label can have a good FID over all images, but not within classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kennel.cancellation import raise_if_cancelled
from kennel.errors import JudgementError
from kennel.evaluation.metrics._checks import check_pair
from kennel.evaluation.metrics.fid import frechet_distance
from kennel.features.moments import BLOCK, FloatArray, IndexArray, Moments, MomentsAccumulator

LabelArray = npt.NDArray[np.integer]
MIN_CLASS_IMAGES = 2  # The minimum number of images of a class on each side, for a covariance


@dataclass(frozen=True)
class ClassFid:
    """The FID of one class, and the number of its `fakes` and `reference` images."""

    name: str
    fid: float
    fakes: int
    reference: int


@dataclass(frozen=True)
class FidByClass:
    """The measured `classes` by label, the unweighted `mean` of their FIDs, and the `worst` label.
    `not_measured` are the labels of classes with fewer than 2 images on a side; the mean does not include
    them."""

    mean: float
    worst: int
    classes: dict[int, ClassFid]
    not_measured: tuple[int, ...]


def fid_by_class(
    fakes: FloatArray,
    fake_labels: LabelArray,
    reference: FloatArray,
    reference_labels: LabelArray,
    names: Sequence[str],
) -> FidByClass:
    """FID of each of `names` between (count, dimension) features with labels (count,), in float64.

    Classes have few images, so each FID is far above its value for many: compare only at equal counts per
    class. Raises `JudgementError` if no class can be measured, if labels and features differ in number, if a
    label has no name, and for values that are not finite.
    """
    check_pair(fakes, reference)
    _check_labels(fake_labels, len(fakes), len(names), "fakes")
    _check_labels(reference_labels, len(reference), len(names), "reference")
    found: dict[int, ClassFid] = {}
    skipped = []
    for label, name in enumerate(names):
        raise_if_cancelled()
        rows = np.flatnonzero(fake_labels == label)
        reference_rows = np.flatnonzero(reference_labels == label)
        if min(len(rows), len(reference_rows)) < MIN_CLASS_IMAGES:
            skipped.append(label)
            continue
        fid = frechet_distance(_moments_of(fakes, rows), _moments_of(reference, reference_rows))
        found[label] = ClassFid(name, fid, len(rows), len(reference_rows))
    if not found:
        raise JudgementError(
            f"none of the {len(names)} classes has 2 images on both sides: give more images of each class"
        )
    worst = max(found, key=lambda label: found[label].fid)
    mean = float(np.mean([one.fid for one in found.values()]))
    return FidByClass(mean, worst, found, tuple(skipped))


def _moments_of(features: FloatArray, rows: IndexArray) -> Moments:
    accumulator = MomentsAccumulator()
    for start in range(0, len(rows), BLOCK):
        accumulator.add(features[rows[start : start + BLOCK]])
    return accumulator.moments()


def _check_labels(labels: LabelArray, count: int, classes: int, side: str) -> None:
    if labels.shape != (count,):
        raise JudgementError(
            f"the {side} are {count} images with labels of shape {labels.shape}: give one label per image"
        )
    if not 0 <= labels.min() <= labels.max() < classes:
        raise JudgementError(
            f"the labels of the {side} run from {labels.min()} to {labels.max()}, and there are {classes} "
            "classes: use labels of the same classes on both sides"
        )
