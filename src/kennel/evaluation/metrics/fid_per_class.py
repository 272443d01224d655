"""FID of each class by itself, and its mean: intra-FID (Miyato and Koyama 2018, arXiv 1802.05637).

A conditional generator that ignores its label can have a good FID over all images; against the reference's
images of each class it cannot.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kennel.cancellation import raise_if_cancelled
from kennel.errors import JudgementError
from kennel.evaluation.metrics._checks import check_pair
from kennel.evaluation.metrics.fid import frechet_distance
from kennel.features.moments import BLOCK, FloatArray, Moments, MomentsAccumulator

LabelArray = npt.NDArray[np.integer]
LEAST = 2
"""Images of a class on either side below which it has no covariance."""


@dataclass(frozen=True)
class ClassFid:
    """The FID of one class, from so many `fakes` and so many images of the `reference`."""

    name: str
    fid: float
    fakes: int
    reference: int


@dataclass(frozen=True)
class FidByClass:
    """The measured `classes` by label, the `mean` of their FIDs, each class alike, and the `worst` label.

    `not_measured` are the labels of the classes with fewer than 2 images on either side: the mean is over
    `len(classes)` classes only.
    """

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

    Classes have few images, so that each FID is far above its value for many: compare only at equal counts
    per class. Raises `JudgementError` where no class can be measured, where labels and features differ in
    number, where a label has no name, and where a value is not finite.
    """
    check_pair(fakes, reference)
    _check_labels(fake_labels, len(fakes), len(names), "fakes")
    _check_labels(reference_labels, len(reference), len(names), "reference")
    found: dict[int, ClassFid] = {}
    left_out = []
    for label, name in enumerate(names):
        raise_if_cancelled()
        places = np.flatnonzero(fake_labels == label)
        reference_places = np.flatnonzero(reference_labels == label)
        if min(len(places), len(reference_places)) < LEAST:
            left_out.append(label)
            continue
        fid = frechet_distance(_moments_of(fakes, places), _moments_of(reference, reference_places))
        found[label] = ClassFid(name, fid, len(places), len(reference_places))
    if not found:
        raise JudgementError(
            f"none of the {len(names)} classes has 2 images on both sides: give more images of each class"
        )
    worst = max(found, key=lambda label: found[label].fid)
    mean = float(np.mean([one.fid for one in found.values()]))
    return FidByClass(mean, worst, found, tuple(left_out))


def _moments_of(features: FloatArray, places: npt.NDArray[np.int64]) -> Moments:
    """The moments of some rows, read a block at a time."""
    accumulator = MomentsAccumulator()
    for start in range(0, len(places), BLOCK):
        accumulator.add(features[places[start : start + BLOCK]])
    return accumulator.moments()


def _check_labels(labels: LabelArray, count: int, classes: int, which: str) -> None:
    if labels.shape != (count,):
        raise JudgementError(
            f"the {which} are {count} images with labels of shape {labels.shape}: give one label per image"
        )
    if not 0 <= labels.min() <= labels.max() < classes:
        raise JudgementError(
            f"the labels of the {which} run from {labels.min()} to {labels.max()}, and there are {classes} "
            "classes: use labels of the same classes on both sides"
        )
