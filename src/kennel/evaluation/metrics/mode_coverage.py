"""How many modes of the data a generator covers, and how evenly.

Two protocols: by a classifier, as on Stacked MNIST with its 1,000 digit triples (Metz et al. 2017, arXiv
1611.02163; Lin et al. 2018, PacGAN, arXiv 1712.04086), and by known centers, as on a grid of 25 Gaussians
(Srivastava et al. 2017, VEEGAN, arXiv 1705.07761).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kennel.errors import JudgementError
from kennel.evaluation.metrics._checks import check_pair
from kennel.features.moments import BLOCK, Float64Array, FloatArray, IndexArray, blocks

ClassArray = npt.NDArray[np.integer]


@dataclass(frozen=True)
class ClassModes:
    """`covered` of `classes` classes have at least `min_samples` samples; `counts`, int64 (classes,).

    `divergence` is KL(samples || reference) of the class frequencies in nats: 0 if they agree; log(classes)
    if all samples are of one class and the reference is uniform; infinite if samples are of a class that the
    reference lacks.
    """

    covered: int
    classes: int
    min_samples: int
    divergence: float
    counts: IndexArray


@dataclass(frozen=True)
class CenterModes:
    """`covered` of `modes` centers have at least `min_samples` high-quality samples: samples within the
    radius.

    `high_quality` is their share of all samples; `counts`, int64 (modes,), are those of each center.
    `divergence` is KL(high-quality samples || uniform) of the frequencies in nats, NaN without such samples.
    """

    covered: int
    modes: int
    min_samples: int
    high_quality: float
    divergence: float
    counts: IndexArray


def modes_of_classes(
    predicted: ClassArray, classes: int, reference: ClassArray | None = None, min_samples: int = 1
) -> ClassModes:
    """The modes covered by samples whose classes (count,) are `predicted` by a classifier.

    `reference` holds the class of each image of the data, by label or by the same classifier; without it the
    data count as uniform over all classes. Both values depend on the count: the published ones use about
    26,000 samples. Raises `JudgementError` if a side is empty or a class is not below `classes`.
    """
    _check_min_samples(min_samples)
    counts = _class_counts(predicted, classes, "samples")
    expected = (
        np.full(classes, 1 / classes) if reference is None else _class_counts(reference, classes, "reference")
    )
    covered = int((counts >= min_samples).sum())
    return ClassModes(covered, classes, min_samples, frequency_divergence(counts, expected), counts)


def modes_of_centers(
    points: FloatArray, centers: FloatArray, radius: float, min_samples: int = 1
) -> CenterModes:
    """The modes covered by samples `points` (count, dimension), given the `centers` (modes, dimension), in
    float64.

    A sample belongs to the nearest center and is of high quality within `radius` of it; for Gaussians use 3
    standard deviations. Raises `JudgementError` if a side is empty, a value is not finite, or the radius is
    not positive.
    """
    check_pair(points, centers, min_count=1)
    _check_min_samples(min_samples)
    if not radius > 0:
        raise JudgementError(f"the radius is {radius}: it must be above 0")
    counts = np.zeros(len(centers), np.int64)
    for block in blocks(points, BLOCK):
        nearest, distances = _nearest(block.astype(np.float64), centers.astype(np.float64))
        counts += np.bincount(nearest[distances <= radius], minlength=len(centers))
    good = int(counts.sum())
    divergence = frequency_divergence(counts, np.ones(len(centers))) if good else float("nan")
    covered = int((counts >= min_samples).sum())
    return CenterModes(covered, len(centers), min_samples, good / len(points), divergence, counts)


def frequency_divergence(counts: IndexArray, expected: IndexArray | Float64Array) -> float:
    """KL of the frequencies of `counts` to those of `expected`, neither all 0, in nats; at least 0."""
    present = counts > 0
    shares, others = counts[present] / counts.sum(), expected[present] / expected.sum()
    if not others.all():
        return float("inf")
    return max(0.0, float((shares * np.log(shares / others)).sum()))


def _nearest(points: Float64Array, centers: Float64Array) -> tuple[IndexArray, Float64Array]:
    """The nearest center of each point and its distance. One center at a time, without cancellation."""
    nearest, smallest = np.zeros(len(points), np.int64), np.full(len(points), np.inf)
    for index, center in enumerate(centers):
        squares = ((points - center) ** 2).sum(1)
        nearer = squares < smallest
        nearest[nearer], smallest[nearer] = index, squares[nearer]
    return nearest, np.sqrt(smallest)


def _class_counts(predicted: ClassArray, classes: int, side: str) -> IndexArray:
    if predicted.ndim != 1 or not len(predicted):
        raise JudgementError(
            f"the classes of the {side} have the shape {predicted.shape}: give one class per image"
        )
    if not 0 <= predicted.min() <= predicted.max() < classes:
        raise JudgementError(
            f"the classes of the {side} run from {predicted.min()} to {predicted.max()}, and there are "
            f"{classes}: give the classifier's number of classes"
        )
    return np.bincount(predicted, minlength=classes).astype(np.int64)


def _check_min_samples(min_samples: int) -> None:
    if min_samples < 1:
        raise JudgementError(f"min_samples is {min_samples}: it must be at least 1")
