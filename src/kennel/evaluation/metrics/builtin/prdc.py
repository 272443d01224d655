"""Precision, recall, F1, density and coverage."""

import numpy as np
from scipy.special import stdtrit

from kennel.evaluation.metrics._halves import metrics_of_halves
from kennel.evaluation.metrics.base import MetricResult, metric
from kennel.evaluation.metrics.context import MetricContext, MetricSettings, wilson_interval
from kennel.evaluation.metrics.prdc import harmonic_mean
from kennel.features.moments import FloatArray, IndexArray, blocks

SPLITS = 20  # The number of random splits of both sides into halves
MAX_HALF = 2000  # Maximum rows of a half; more only divide the variance
NAMES = ("precision", "recall", "f1", "density", "coverage")


def _min_images(_dimension: int, settings: MetricSettings) -> int:
    return settings.neighbors + 1


def _density_min_images(_dimension: int, settings: MetricSettings) -> int:
    return settings.density_neighbors + 1


def standard_errors(context: MetricContext) -> dict[str, float] | None:
    """The standard error of each metric over draws of both sides, by name; None below twice their largest k +
    1.

    Both sides are split into random halves. A half's value has twice the variance of the whole's, and the
    halves share no row, so a quarter of the squared difference estimates the variance of the whole, including
    that of the balls; it is averaged over `SPLITS` splits. A bootstrap of the rows with fixed balls would
    omit the variance of the balls; one with new balls would contain duplicates as neighbors.
    """
    images, reference = context.equal_count_features
    settings, count = context.settings, len(images)
    half = min(count // 2, MAX_HALF)
    if half <= max(settings.neighbors, settings.density_neighbors):
        return None
    # The seed depends on the images: otherwise a count and seed would always put the same ranks of
    # `_by_distance_to_mean` into one half, and the interval would always be too narrow or too wide.
    whole = context.manifolds
    counts = whole.balls_around.sum(), whole.fakes_inside.sum(), whole.reals_inside.sum()
    random = np.random.default_rng([settings.seed, count, *map(int, counts)])
    rows, others = _ordered_sample(images, random), _ordered_sample(reference, random)
    squares = np.zeros(len(NAMES))
    ks = settings.neighbors, settings.density_neighbors
    for one, other in metrics_of_halves(rows, others, half, SPLITS, *ks, random, settings.device):
        squares += np.subtract(one, other) ** 2 / 2
    errors = np.sqrt(squares / SPLITS * half / count)
    return dict(zip(NAMES, errors.tolist(), strict=True))


def _ordered_sample(rows: FloatArray, random: np.random.Generator) -> FloatArray:
    """At most as many rows as two halves hold, in an order that does not depend on the set's order."""
    order = _by_distance_to_mean(rows)
    if len(order) > 2 * MAX_HALF:
        order = order[np.sort(random.choice(len(order), 2 * MAX_HALF, replace=False))]
    return rows[order]


def _by_distance_to_mean(rows: FloatArray) -> IndexArray:
    """Row indices by distance to the mean, so that the interval does not depend on the order of the set."""
    mean = sum(block.sum(0, dtype=np.float64) for block in blocks(rows)) / len(rows)
    distances = [((block - mean) ** 2).sum(1) for block in blocks(rows)]
    return np.argsort(np.concatenate(distances), kind="stable")


def _interval(context: MetricContext, name: str, value: float) -> tuple[float, float] | None:
    """Student's interval; for a share at least Wilson's, because all halves may agree on 1."""
    if not context.settings.intervals:
        return None
    errors = context.cached("errors of manifolds", lambda: standard_errors(context))
    if errors is None:
        return None
    half = float(stdtrit(SPLITS, 0.975)) * errors[name]
    if name == "density":
        return max(0.0, value - half), value + half
    low, high = wilson_interval(value, len(context.equal_count_features[0]))
    return max(0.0, min(low, value - half)), min(1.0, max(high, value + half))


def _result(context: MetricContext, name: str, value: float, **details: float) -> MetricResult:
    settings = context.settings
    k = settings.density_neighbors if name in ("density", "coverage") else settings.neighbors
    protocol = {"neighbours": k, "count_a_side": len(context.equal_count_features[0])}
    return MetricResult(value, details, _interval(context, name, value), protocol)


@metric("precision", "Precision", "higher", default=True, min_images=_min_images)
def judge_precision(context: MetricContext) -> MetricResult:
    """The share of images within the k-nearest-neighbor balls of real images: fidelity."""
    return _result(context, "precision", context.manifolds.precision)


@metric("recall", "Recall", "higher", default=True, min_images=_min_images)
def judge_recall(context: MetricContext) -> MetricResult:
    """The share of real images within the k-nearest-neighbor balls of the evaluated ones: variety."""
    return _result(context, "recall", context.manifolds.recall)


@metric("f1", "F1", "higher", min_images=_min_images)
def judge_f1(context: MetricContext) -> MetricResult:
    """The harmonic mean of k-nearest-neighbor precision and recall."""
    precision, recall = context.manifolds.precision, context.manifolds.recall
    value = harmonic_mean(precision, recall)
    return _result(context, "f1", value, precision=precision, recall=recall)


@metric("density", "Density", "higher", default=True, min_images=_density_min_images)
def judge_density(context: MetricContext) -> MetricResult:
    """Real balls around an image, divided by k: robust precision, about 1 for real images."""
    return _result(context, "density", context.balls.density)


@metric("coverage", "Coverage", "higher", default=True, min_images=_density_min_images)
def judge_coverage(context: MetricContext) -> MetricResult:
    """The share of real images whose ball contains an evaluated image: robust recall."""
    return _result(context, "coverage", context.balls.coverage)
