"""Scores over training seeds: mean and deviation of each recipe, and paired differences between recipes."""

from collections.abc import Sequence

import numpy as np
from scipy import stats

from kennel.comparison.curves import group_labels
from kennel.comparison.runs import ComparedRun, groups_of
from kennel.comparison.scores import ScoreTable
from kennel.comparison.tables import Table, best_places, metric_columns, signed
from kennel.evaluation.metrics.base import METRICS
from kennel.reporting.format import figure

CONFIDENCE = 0.95


def seed_table(scores: ScoreTable, runs: Sequence[ComparedRun], title: str) -> Table | None:
    """A row for each recipe: mean ± standard deviation of every metric over its seeds.

    None where no recipe has two seeds with scores.
    """
    groups = _groups(scores, runs)
    if all(len(group) < 2 for _, group in groups):
        return None
    rows: list[tuple[str, ...]] = []
    values: list[list[float | None]] = []
    if scores.floor:
        rows.append((scores.floor_label, "", *(figure(scores.floor.get(name)) for name in scores.metrics)))
        values.append([None] * len(scores.metrics))
    for label, group in groups:
        found = [_values(scores, group, name) for name in scores.metrics]
        rows.append((label, str(len(group)), *map(_mean_and_deviation, found)))
        values.append([float(np.mean(each)) if each else None for each in found])
    columns = ("", "seeds", *metric_columns(scores.metrics))
    bold = best_places(scores.metrics, values, first_column=2)
    return Table(title, columns, tuple(rows), bold, (scores.protocol,))


def seed_difference_table(scores: ScoreTable, runs: Sequence[ComparedRun]) -> Table | None:
    """Each recipe's difference from the first, seed by seed, with the 95% interval of Student's t.

    None where fewer than two recipes have two seeds in common.
    """
    groups = _groups(scores, runs)
    first_label, first = groups[0] if groups else ("", [])
    rows: list[tuple[str, ...]] = []
    bold: set[tuple[int, int]] = set()
    for label, group in groups[1:]:
        cells, any_known = [label], False
        for place, metric in enumerate(scores.metrics):
            pairs = _pairs(scores, first, group, metric)
            if len(pairs) < 2:
                cells.append("–")
                continue
            any_known = True
            low, mean, high = paired_interval(pairs)
            cells.append(f"{signed(mean)} ({signed(low)} to {signed(high)})")
            if not low <= 0 <= high:
                bold.add((len(rows), place + 1))
        if any_known:
            rows.append(tuple(cells))
    if not rows:
        return None
    note = (
        "95% intervals of the mean difference over training seeds (paired, Student's t); bold where 0 is "
        "outside."
    )
    columns = ("", *(METRICS[name].label for name in scores.metrics))
    return Table(f"Difference from {first_label}, over seeds", columns, tuple(rows), frozenset(bold), (note,))


def paired_interval(differences: Sequence[float]) -> tuple[float, float, float]:
    """(low, mean, high) of the mean of at least two differences, by Student's t at 95%."""
    mean = float(np.mean(differences))
    error = float(np.std(differences, ddof=1)) / len(differences) ** 0.5
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(differences) - 1)) * error
    return mean - reach, mean, mean + reach


def _groups(scores: ScoreTable, runs: Sequence[ComparedRun]) -> list[tuple[str, list[ComparedRun]]]:
    """(label, runs with scores) of each recipe that has any."""
    groups = groups_of(runs)
    labels = [
        label.partition(" (")[0] if len(group) > 1 else label
        for label, group in zip(group_labels(groups), groups, strict=True)
    ]
    scored = [[run for run in group if run.label in scores.scores] for group in groups]
    return [(label, group) for label, group in zip(labels, scored, strict=True) if group]


def _values(scores: ScoreTable, group: Sequence[ComparedRun], metric: str) -> list[float]:
    known = [scores.scores[run.label].get(metric) for run in group]
    return [score.value for score in known if score is not None]


def _pairs(
    scores: ScoreTable, first: Sequence[ComparedRun], group: Sequence[ComparedRun], metric: str
) -> list[float]:
    """The differences of runs of equal seed."""
    by_seed = {run.recipe.seed: scores.scores[run.label].get(metric) for run in first}
    pairs = []
    for run in group:
        own, other = scores.scores[run.label].get(metric), by_seed.get(run.recipe.seed)
        if own is not None and other is not None:
            pairs.append(own.value - other.value)
    return pairs


def _mean_and_deviation(values: Sequence[float]) -> str:
    if not values:
        return "–"
    if len(values) == 1:
        return figure(values[0])
    deviation = float(np.std(values, ddof=1))
    digits = f"{deviation:.1f}" if deviation >= 10 else f"{deviation:.2g}"
    return f"{figure(float(np.mean(values)))} ± {digits}"
