"""Fidelity and variety apart: precision, recall, density, coverage."""

import numpy as np
import numpy.typing as npt

from kennel.metrics.contract import Finding, metric
from kennel.metrics.evidence import Evidence
from kennel.metrics.manifolds import harmonic_mean

RESAMPLES = 1000


def _shares(*values: npt.NDArray[np.generic], seed: int) -> npt.NDArray[np.float64]:
    """Means of each array under `RESAMPLES` bootstrap draws of its rows: (resamples, arrays)."""
    random = np.random.default_rng([seed, RESAMPLES])
    means = []
    for array in values:
        kinds, counts = np.unique(array, return_counts=True)
        drawn = random.multinomial(len(array), counts / len(array), RESAMPLES)
        means.append(drawn @ kinds.astype(np.float64) / len(array))
    return np.stack(means, 1)


def _interval(evidence: Evidence, values: npt.NDArray[np.float64]) -> tuple[float, float] | None:
    if not evidence.settings.intervals:
        return None
    low, high = np.quantile(values, (0.025, 0.975))
    return float(low), float(high)


def _finding(evidence: Evidence, value: float, rows: npt.NDArray[np.generic], scale: float = 1.0) -> Finding:
    """A mean over rows; the interval resamples those rows and takes the balls as they are."""
    resampled = _shares(rows, seed=evidence.settings.seed)[:, 0] * scale
    return Finding(value, {}, _interval(evidence, resampled), _protocol(evidence))


def _protocol(evidence: Evidence) -> dict[str, int]:
    return {"neighbours": evidence.manifolds.neighbours, "count_a_side": len(evidence.equal_sides[0])}


@metric("precision", "Precision", "higher", usual=True)
def judge_precision(evidence: Evidence) -> Finding:
    """The share of images within the k-nearest-neighbour balls of real ones: fidelity."""
    return _finding(evidence, evidence.manifolds.precision, evidence.manifolds.fakes_inside)


@metric("recall", "Recall", "higher", usual=True)
def judge_recall(evidence: Evidence) -> Finding:
    """The share of real images within the k-nearest-neighbour balls of the judged ones: variety."""
    return _finding(evidence, evidence.manifolds.recall, evidence.manifolds.reals_inside)


@metric("f1", "F1", "higher")
def judge_f1(evidence: Evidence) -> Finding:
    """The harmonic mean of k-nearest-neighbour precision and recall."""
    found = evidence.manifolds
    resampled = _shares(found.fakes_inside, found.reals_inside, seed=evidence.settings.seed)
    values = np.array([harmonic_mean(float(one), float(other)) for one, other in resampled])
    details = {"precision": found.precision, "recall": found.recall}
    value = harmonic_mean(found.precision, found.recall)
    return Finding(value, details, _interval(evidence, values), _protocol(evidence))


@metric("density", "Density", "higher", usual=True)
def judge_density(evidence: Evidence) -> Finding:
    """Real balls around an image, by k: precision that outliers cannot inflate, about 1 for real images."""
    found = evidence.manifolds
    return _finding(evidence, found.density, found.balls_around, 1 / found.neighbours)


@metric("coverage", "Coverage", "higher", usual=True)
def judge_coverage(evidence: Evidence) -> Finding:
    """The share of real images whose ball holds a judged one: recall that outliers cannot inflate."""
    return _finding(evidence, evidence.manifolds.coverage, evidence.manifolds.reals_covered)
