"""How many modes of the data a generator produces, and how evenly.

Two protocols: by a classifier, as on Stacked MNIST with its 1,000 digit triples (Metz et al. 2017, arXiv
1611.02163; Lin et al. 2018, PacGAN, arXiv 1712.04086), and by known centres, as on a grid of 25 Gaussians
(Srivastava et al. 2017, VEEGAN, arXiv 1705.07761).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kennel.errors import JudgementError
from kennel.evaluation.metrics._checks import check_pair
from kennel.features.moments import BLOCK, Float64Array, FloatArray, blocks

ClassArray = npt.NDArray[np.integer]
CountArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ClassModes:
    """`covered` of `classes` classes have at least `least` samples; `counts`, int64 (classes,), are those of
    each.

    `divergence` is KL(samples || reference) of the class frequencies in nats: 0 where they agree, the
    logarithm of the number of classes where all samples are of one and the reference even, and infinite where
    samples are of a class that the reference has none of.
    """

    covered: int
    classes: int
    least: int
    divergence: float
    counts: CountArray


@dataclass(frozen=True)
class CentreModes:
    """`covered` of `modes` centres have at least `least` high-quality samples: samples within the radius.

    `high_quality` is the share of all samples that are; `counts`, int64 (modes,), are those of each centre.
    `divergence` is KL(high-quality samples || even) of their frequencies in nats, NaN where there are none.
    """

    covered: int
    modes: int
    least: int
    high_quality: float
    divergence: float
    counts: CountArray


def modes_of_classes(
    predicted: ClassArray, classes: int, reference: ClassArray | None = None, least: int = 1
) -> ClassModes:
    """The classes among the `predicted` class (count,) of each sample, as a classifier finds them.

    `reference` holds the class (reference count,) of each image of the data, by label or by the same
    classifier; without it the data are taken to be even over all classes. Both figures depend on the count:
    the published ones are of about 26,000 samples. Raises `JudgementError` where a side is empty or a
    class is not one of `classes`.
    """
    _check_least(least)
    counts = _class_counts(predicted, classes, "samples")
    expected = (
        np.full(classes, 1 / classes) if reference is None else _class_counts(reference, classes, "reference")
    )
    covered = int((counts >= least).sum())
    return ClassModes(covered, classes, least, frequency_divergence(counts, expected), counts)


def modes_of_centres(points: FloatArray, centres: FloatArray, radius: float, least: int = 1) -> CentreModes:
    """The centres (modes, dimension) that the samples `points` (count, dimension) reach, in float64.

    A sample belongs to the nearest centre, and is of high quality where that is at most `radius` away, for
    Gaussians 3 standard deviations. Raises `JudgementError` where a side is empty, a value is not finite or
    the radius is not above 0.
    """
    check_pair(points, centres, least=1)
    _check_least(least)
    if not radius > 0:
        raise JudgementError(f"the radius of a mode is above 0, {radius} was given")
    counts = np.zeros(len(centres), np.int64)
    for block in blocks(points, BLOCK):
        nearest, distances = _nearest(block.astype(np.float64), centres.astype(np.float64))
        counts += np.bincount(nearest[distances <= radius], minlength=len(centres))
    good = int(counts.sum())
    divergence = frequency_divergence(counts, np.ones(len(centres))) if good else float("nan")
    covered = int((counts >= least).sum())
    return CentreModes(covered, len(centres), least, good / len(points), divergence, counts)


def frequency_divergence(counts: CountArray, expected: CountArray | Float64Array) -> float:
    """KL of the frequencies of `counts` to those of `expected`, neither all 0, in nats; at least 0."""
    held = counts > 0
    shares, others = counts[held] / counts.sum(), expected[held] / expected.sum()
    if not others.all():
        return float("inf")
    return max(0.0, float((shares * np.log(shares / others)).sum()))


def _nearest(points: Float64Array, centres: Float64Array) -> tuple[CountArray, Float64Array]:
    """Of each point the nearest centre and the distance to it, a centre at a time: no product cancels."""
    nearest, least = np.zeros(len(points), np.int64), np.full(len(points), np.inf)
    for place, centre in enumerate(centres):
        squares = ((points - centre) ** 2).sum(1)
        nearer = squares < least
        nearest[nearer], least[nearer] = place, squares[nearer]
    return nearest, np.sqrt(least)


def _class_counts(predicted: ClassArray, classes: int, which: str) -> CountArray:
    """How many are of each class; refuses what is none."""
    if predicted.ndim != 1 or not len(predicted):
        raise JudgementError(
            f"the classes of the {which} have the shape {predicted.shape}: give one for each of some images"
        )
    if not 0 <= predicted.min() <= predicted.max() < classes:
        raise JudgementError(
            f"the classes of the {which} run from {predicted.min()} to {predicted.max()}, and there are "
            f"{classes}: give the number of classes of the classifier"
        )
    return np.bincount(predicted, minlength=classes).astype(np.int64)


def _check_least(least: int) -> None:
    if least < 1:
        raise JudgementError(f"a mode is covered by at least 1 sample, {least} was given")
