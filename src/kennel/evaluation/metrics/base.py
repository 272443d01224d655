"""The registry of metrics: named functions from a `MetricContext` to a `MetricResult`."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from kennel.evaluation.metrics.context import MetricContext, MetricSettings
from kennel.registry import Registry, same_definition

Direction: TypeAlias = Literal["lower", "higher", "neither"]
Default: TypeAlias = bool | Literal["learned"]
Need: TypeAlias = Literal["logits", "labels", "pyramid"]
MinImages: TypeAlias = Callable[[int, MetricSettings], int]
"""The minimum number of images on each side, from the dimension of the features and the settings."""


@dataclass(frozen=True)
class MetricResult:
    """A metric's value, its details, its 95% interval or None, and its entries in the protocol."""

    value: float
    details: dict[str, Any]
    interval: tuple[float, float] | None = None
    protocol: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Metric:
    """A registered metric. `label` is its name in papers; `direction` says which values are better.

    `needs` besides features: "logits" of the extractor, "labels" on both sides, or images whose side is a
    power of two from 16 for a "pyramid". `default`: whether it is measured if no metric is named; "learned"
    means only with an extractor whose features were learned.
    """

    name: str
    label: str
    direction: Direction
    summary: str
    compute: Callable[[MetricContext], MetricResult]
    needs: frozenset[Need] = frozenset()
    default: Default = False
    min_images: MinImages = lambda dimension, settings: 2


METRICS: Registry[Metric] = Registry("metric")
ALIASES = {"is": "inception_score", "per_class_fid": "fid_by_class", "intra_fid": "fid_by_class"}
# Names for several metrics. "all" means every metric that the extractor and the sets allow.
GROUPS: dict[str, tuple[str, ...]] = {
    "prdc": ("precision", "recall", "density", "coverage"),
    "prd": ("prd_f8", "prd_f1_8"),
}
# The order of metrics in tables; others follow by name.
ORDER = (
    *("fid", "mifid", "kid", "precision", "recall", "f1", "density", "coverage", "inception_score"),
    *("fid_infinity", "fid_by_class", "prd_f8", "prd_f1_8", "modes", "diversity", "vendi"),
    *("sliced_wasserstein", "swd", "memorisation"),
)


def in_order(names: Iterable[str]) -> list[str]:
    """Names of metrics in the order of tables."""
    return sorted(names, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name))


def metric(
    name: str,
    label: str,
    direction: Direction,
    *,
    needs: Iterable[Need] = (),
    default: Default = False,
    min_images: MinImages = lambda dimension, settings: 2,
) -> Callable[[Callable[[MetricContext], MetricResult]], Callable[[MetricContext], MetricResult]]:
    """Registers a function as a metric; the first line of its docstring becomes the summary."""

    def register(compute: Callable[[MetricContext], MetricResult]) -> Callable[[MetricContext], MetricResult]:
        summary = (compute.__doc__ or "").partition("\n")[0].rstrip(".")
        replace = name in METRICS.registered and same_definition(METRICS.registered[name].compute, compute)
        METRICS.register(name, replace=replace)(
            Metric(name, label, direction, summary, compute, frozenset(needs), default, min_images)
        )
        return compute

    return register


def metric_names(names: Iterable[str]) -> list[str]:
    """The registered names of the user's names: groups and aliases expanded, each once, in the given order.
    "all" stays. Raises `UnknownNameError` for an unknown name."""
    found: list[str] = []
    for given in names:
        name = given.strip().lower().replace("-", "_")
        for one in GROUPS.get(name, (ALIASES.get(name, name),)):
            if one != "all":
                METRICS[one]
            found.append(one)
    return list(dict.fromkeys(found))
