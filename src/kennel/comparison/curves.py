"""Validation curves of several runs on common axes: over images and over seconds, with bands over seeds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from kennel.comparison.runs import ComparedRun, groups_of
from kennel.evaluation.metrics.base import METRICS, in_order
from kennel.reporting.format import metric_direction

Axis = Literal["images", "seconds"]


@dataclass(frozen=True)
class Curve:
    """A metric over training, of one run or of runs that differ in their seed alone.

    `images` and `values` have equal lengths; `seconds` too, where every point of the log has them, else it
    is empty. `low` and `high` are the least and the greatest value over the seeds, empty for one run.
    """

    label: str
    images: tuple[float, ...]
    seconds: tuple[float, ...]
    values: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    seeds: int = 1

    def over(self, axis: Axis) -> tuple[float, ...]:
        """The places of the points on this axis; empty where they are not known."""
        return self.images if axis == "images" else self.seconds


@dataclass(frozen=True)
class Chart:
    """The curves of one metric that were measured in the same way: equal set, extractor and count."""

    metric: str
    extractor: str
    count: int
    set_name: str
    curves: tuple[Curve, ...]

    @property
    def title(self) -> str:
        """The metric with its protocol."""
        label = METRICS[self.metric].label
        return f"Validation {label}, {self.count:,} samples, by {self.extractor}, against {self.set_name}"

    @property
    def direction(self) -> int:
        """-1 where lower is better, +1 where higher is, 0 for neither."""
        return metric_direction(self.metric)

    @property
    def has_seconds(self) -> bool:
        """Whether every curve can be drawn over seconds."""
        return all(curve.seconds for curve in self.curves)


def charts_of(runs: Sequence[ComparedRun]) -> list[Chart]:
    """A chart for each metric and protocol of the runs' validations; curves of equal protocol share one."""
    found: dict[tuple[str, str, int, str], list[Curve]] = {}
    names: dict[tuple[str, str, int, str], str] = {}
    groups = groups_of(runs)
    for label, group in zip(group_labels(groups), groups, strict=True):
        for metric in in_order(_metrics_of(group)):
            validation = group[0].recipe.validation
            key = (metric, validation.extractor, validation.num_samples, group[0].set_fingerprint)
            curves = [curve for run in group if (curve := _curve(run, metric)) is not None]
            if len(curves) > 1:
                found.setdefault(key, []).append(_band(label, curves))
            elif curves:
                found.setdefault(key, []).append(curves[0])
            names[key] = group[0].set_name
    order = in_order({key[0] for key in found})
    keys = sorted(found, key=lambda key: order.index(key[0]))
    return [Chart(*key[:3], names[key], tuple(found[key])) for key in keys]


def group_labels(groups: Sequence[Sequence[ComparedRun]]) -> list[str]:
    """A name for each group: its run's label, or for several seeds their recipe's name, which a run's label
    follows where several groups have recipes of that name."""
    names = [group[0].recipe.name for group in groups]
    labels = []
    for group, name in zip(groups, names, strict=True):
        if len(group) == 1:
            labels.append(group[0].label)
        elif names.count(name) == 1:
            labels.append(f"{name} ({len(group)} seeds)")
        else:
            labels.append(f"{name} ({len(group)} seeds, as {group[0].label})")
    return labels


def _metrics_of(group: Sequence[ComparedRun]) -> set[str]:
    return {name for run in group for line in run.log for name in line if name in METRICS}


def _curve(run: ComparedRun, metric: str) -> Curve | None:
    points = [line for line in run.log if _is_finite(line.get(metric))]
    if not points:
        return None
    seconds = [line.get("seconds") for line in points]
    return Curve(
        run.label,
        tuple(float(line["images"]) for line in points),
        () if None in seconds else tuple(float(second or 0) for second in seconds),
        tuple(float(line[metric]) for line in points),
    )


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _band(label: str, curves: Sequence[Curve]) -> Curve:
    """The mean of several seeds with their range, at the points that all of them reached.

    Runs of one recipe validate at the same numbers of images. Where they do not (a budget that was changed),
    the others are read between their points.
    """
    longest = min(curve.images[-1] for curve in curves)
    images = [point for point in curves[0].images if point <= longest and _all_reach(point, curves)]
    values = np.array([np.interp(images, curve.images, curve.values) for curve in curves])
    seconds: tuple[float, ...] = ()
    if all(curve.seconds for curve in curves):
        times = np.array([np.interp(images, curve.images, curve.seconds) for curve in curves])
        seconds = tuple(times.mean(0).tolist())
    return Curve(
        label,
        tuple(images),
        seconds,
        tuple(values.mean(0).tolist()),
        tuple(values.min(0).tolist()),
        tuple(values.max(0).tolist()),
        len(curves),
    )


def _all_reach(point: float, curves: Sequence[Curve]) -> bool:
    return all(curve.images[0] <= point <= curve.images[-1] for curve in curves)
