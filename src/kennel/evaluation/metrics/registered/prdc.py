"""Fidelity and variety apart: precision, recall, density, coverage."""

import numpy as np
from scipy.special import stdtrit

from kennel.evaluation.metrics._halves import figures_of_halves
from kennel.evaluation.metrics._nearest import IndexArray
from kennel.evaluation.metrics.base import MetricResult, metric
from kennel.evaluation.metrics.context import MetricContext, MetricSettings, wilson
from kennel.evaluation.metrics.prdc import harmonic_mean
from kennel.features.moments import FloatArray, blocks

SPLITS = 20
"""How often both sides are split into random halves."""
MOST_IN_A_HALF = 2000
"""Rows; more only divide the variance."""
FIGURES = ("precision", "recall", "f1", "density", "coverage")


def _least(_dimension: int, settings: MetricSettings) -> int:
    return settings.neighbours + 1


def _least_of_density(_dimension: int, settings: MetricSettings) -> int:
    return settings.density_neighbours + 1


def standard_errors(context: MetricContext) -> dict[str, float] | None:
    """How much each figure varies between draws of both sides, by name; None below twice their largest k + 1.

    Both sides are split into random halves. A half's figure has twice the variance of the whole's (both fall
    as 1 over the count), and two halves share no row, so that a quarter of the squared difference between
    them estimates the whole's variance, that of the balls included: the mean over `SPLITS` splits. To
    resample the rows of fixed balls would leave that out, and to resample rows before the balls are made
    would tie neighbours.
    """
    images, reference = context.equal_sides
    settings, count = context.settings, len(images)
    half = min(count // 2, MOST_IN_A_HALF)
    if half <= max(settings.neighbours, settings.density_neighbours):
        return None
    # The counts make the splits those of these images: fixed ones would put the same ranks of `_outwards`
    # into one half at each draw, and be too narrow, or too wide, for a count and seed for good.
    whole = context.manifolds
    counts = whole.balls_around.sum(), whole.fakes_inside.sum(), whole.reals_inside.sum()
    random = np.random.default_rng([settings.seed, count, *map(int, counts)])
    rows, others = _drawn(images, random), _drawn(reference, random)
    squares = np.zeros(len(FIGURES))
    ks = settings.neighbours, settings.density_neighbours
    for one, other in figures_of_halves(rows, others, half, SPLITS, *ks, random, settings.device):
        squares += np.subtract(one, other) ** 2 / 2
    errors = np.sqrt(squares / SPLITS * half / count)
    return dict(zip(FIGURES, errors.tolist(), strict=True))


def _drawn(rows: FloatArray, random: np.random.Generator) -> FloatArray:
    """As many rows as two halves can have, in an order that is theirs."""
    order = _outwards(rows)
    if len(order) > 2 * MOST_IN_A_HALF:
        order = order[np.sort(random.choice(len(order), 2 * MOST_IN_A_HALF, replace=False))]
    return rows[order]


def _outwards(rows: FloatArray) -> IndexArray:
    """The rows from the nearest to their mean to the farthest: an order that is theirs and not the set's, so
    that the same images in another order have the same interval."""
    mean = sum(block.sum(0, dtype=np.float64) for block in blocks(rows)) / len(rows)
    distances = [((block - mean) ** 2).sum(1) for block in blocks(rows)]
    return np.argsort(np.concatenate(distances), kind="stable")


def _interval(context: MetricContext, figure: str, value: float) -> tuple[float, float] | None:
    """Student's, and of a share never less than what the rows alone leave open: all halves may agree on 1."""
    if not context.settings.intervals:
        return None
    errors = context.once("errors of manifolds", lambda: standard_errors(context))
    if errors is None:
        return None
    reach = float(stdtrit(SPLITS, 0.975)) * errors[figure]
    if figure == "density":
        return max(0.0, value - reach), value + reach
    low, high = wilson(value, len(context.equal_sides[0]))
    return max(0.0, min(low, value - reach)), min(1.0, max(high, value + reach))


def _finding(context: MetricContext, figure: str, value: float, **details: float) -> MetricResult:
    of_density = figure in ("density", "coverage")
    settings = context.settings
    protocol = {
        "neighbours": settings.density_neighbours if of_density else settings.neighbours,
        "count_a_side": len(context.equal_sides[0]),
    }
    return MetricResult(value, details, _interval(context, figure, value), protocol)


@metric("precision", "Precision", "higher", usual=True, least=_least)
def judge_precision(context: MetricContext) -> MetricResult:
    """The share of images within the k-nearest-neighbour balls of real ones: fidelity."""
    return _finding(context, "precision", context.manifolds.precision)


@metric("recall", "Recall", "higher", usual=True, least=_least)
def judge_recall(context: MetricContext) -> MetricResult:
    """The share of real images within the k-nearest-neighbour balls of the judged ones: variety."""
    return _finding(context, "recall", context.manifolds.recall)


@metric("f1", "F1", "higher", least=_least)
def judge_f1(context: MetricContext) -> MetricResult:
    """The harmonic mean of k-nearest-neighbour precision and recall."""
    precision, recall = context.manifolds.precision, context.manifolds.recall
    value = harmonic_mean(precision, recall)
    return _finding(context, "f1", value, precision=precision, recall=recall)


@metric("density", "Density", "higher", usual=True, least=_least_of_density)
def judge_density(context: MetricContext) -> MetricResult:
    """Real balls around an image, by k: precision that outliers cannot inflate, about 1 for real images."""
    return _finding(context, "density", context.balls.density)


@metric("coverage", "Coverage", "higher", usual=True, least=_least_of_density)
def judge_coverage(context: MetricContext) -> MetricResult:
    """The share of real images whose ball holds a judged one: recall that outliers cannot inflate."""
    return _finding(context, "coverage", context.balls.coverage)
