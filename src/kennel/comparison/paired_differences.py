"""Differences between runs with the interval of their sampling noise, paired by the reference images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from kennel.cancellation import raise_if_cancelled
from kennel.evaluation.metrics.base import METRICS, in_order
from kennel.evaluation.metrics.context import NORMAL_95, FeatureSide, MetricContext
from kennel.evaluation.score import Score
from kennel.features.extract import Progress
from kennel.features.moments import IndexArray, moments

PAIRED = ("fid", "precision", "recall", "f1", "density", "coverage")
"""Metrics whose differences get an interval. KID is left out for its time, MiFID for its threshold."""
MIN_PAIRED = 200
"""Half of this many images on a side is the least that a half-sample is drawn of."""


@dataclass(frozen=True)
class Difference:
    """A metric's difference between a run and the first one: `value`, and the 95% interval of the sampling
    noise of both, None where it cannot be measured."""

    label: str
    metric: str
    value: float
    interval: tuple[float, float] | None

    @property
    def is_clear(self) -> bool:
        """Whether the interval excludes 0."""
        return self.interval is not None and not self.interval[0] <= 0 <= self.interval[1]


def differences(
    scores: Mapping[str, Mapping[str, Score]],
    contexts: Mapping[str, MetricContext],
    half_samples: int,
    seed: int = 0,
    on_progress: Progress | None = None,
) -> list[Difference]:
    """Of every run against the first: paired by the reference images, which both are measured against.

    The interval is that of the delete-half jackknife (Shao and Wu 1989, Annals of Statistics 17, page 1176):
    the standard deviation of the difference over random halves of all sets, drawn without replacement, is
    that of the difference over the whole sets. The same half of the reference serves all runs, so that
    its noise cancels. It says what other samples would have changed, and nothing about other training seeds.
    """
    labels = list(contexts)
    metrics = [name for name in in_order(scores[labels[0]]) if all(name in scores[label] for label in labels)]
    paired = [name for name in metrics if name in PAIRED]
    errors = _errors(contexts, paired, half_samples, seed, on_progress)
    found = []
    for label in labels[1:]:
        for name in metrics:
            value = scores[label][name].value - scores[labels[0]][name].value
            error = errors.get((label, name))
            interval = None if error is None else (value - NORMAL_95 * error, value + NORMAL_95 * error)
            found.append(Difference(label, name, value, interval))
    return found


def _errors(
    contexts: Mapping[str, MetricContext],
    metrics: Sequence[str],
    half_samples: int,
    seed: int,
    on_progress: Progress | None,
) -> dict[tuple[str, str], float]:
    """Standard errors of the differences from the first run, by label and metric."""
    labels = list(contexts)
    first = contexts[labels[0]]
    fewest = min(len(first.reference), *(len(context.images) for context in contexts.values()))
    if half_samples < 2 or not metrics or fewest < MIN_PAIRED:
        return {}
    values: dict[tuple[str, str], list[float]] = {}
    for number in range(half_samples):
        raise_if_cancelled()
        random = np.random.default_rng([seed, number, len(first.reference)])
        reference = _half(first.reference, random)
        reference_moments = moments(reference.features)
        for label, context in contexts.items():
            # The same rows of each run's samples: seeds that two runs share have nothing in common otherwise.
            half = replace(
                context,
                images=_half(context.images, np.random.default_rng([seed, number, 1])),
                reference=reference,
                reference_moments=reference_moments,
                settings=replace(context.settings, floor=False, intervals=False),
                held_out=None,
                _kept={},
            )
            for name in metrics:
                values.setdefault((label, name), []).append(METRICS[name].compute(half).value)
        if on_progress is not None:
            on_progress(number + 1, half_samples)
    return {
        (label, name): float(
            np.std(np.array(values[label, name]) - np.array(values[labels[0], name]), ddof=1)
        )
        for label in labels[1:]
        for name in metrics
    }


def _half(side: FeatureSide, random: np.random.Generator) -> FeatureSide:
    """A random half of a side, drawn without replacement, in the side's order."""
    count = len(side)
    rows = np.sort(random.choice(count, count // 2, replace=False)).astype(np.int64)
    return FeatureSide(
        np.asarray(side.features[rows]),
        None if side.logits is None else side.logits[rows],
        _taken(side.predictions, rows),
        _taken(side.labels, rows),
        side.classes,
    )


def _taken(values: IndexArray | None, rows: IndexArray) -> IndexArray | None:
    return None if values is None else values[rows]
