"""What a metric is: a function from the evidence of one feature pass to a finding, under a name."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from kennel.evaluation.metrics.context import MetricContext, MetricSettings
from kennel.registry import Registry, same_definition

Better: TypeAlias = Literal["lower", "higher", "neither"]
Usual: TypeAlias = bool | Literal["learned"]
Need: TypeAlias = Literal["logits", "labels", "pyramid"]
Least: TypeAlias = Callable[[int, MetricSettings], int]
"""The fewest images of a side, from the features' dimension and the settings."""


@dataclass(frozen=True)
class MetricResult:
    """A metric's value, its 95% interval where one means something, its parts, and what it adds to the
    protocol."""

    value: float
    details: dict[str, Any]
    interval: tuple[float, float] | None = None
    protocol: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Metric:
    """A registered metric. `label` is how papers write it; `better` says which way it improves.

    `needs` beyond features of both sides: "logits" of the extractor, "labels" on both sides, images whose
    side is a power of two from 16 on for a "pyramid". `usual` ones are judged by where nothing else is said;
    "learned" are those that mean something only by features that were learned, and are usual by these alone.
    `find` does the work.
    """

    name: str
    label: str
    direction: Better
    summary: str
    find: Callable[[MetricContext], MetricResult]
    needs: frozenset[Need] = frozenset()
    default: Usual = False
    min_images: Least = lambda dimension, settings: 2


METRICS: Registry[Metric] = Registry("metric")
ALIASES = {"is": "inception_score", "per_class_fid": "fid_by_class", "intra_fid": "fid_by_class"}
GROUPS: dict[str, tuple[str, ...]] = {
    "prdc": ("precision", "recall", "density", "coverage"),
    "prd": ("prd_f8", "prd_f1_8"),
}
"""Names that stand for several metrics; "all" stands for every one that the extractor and the sets allow."""


ORDER = (
    *("fid", "mifid", "kid", "precision", "recall", "f1", "density", "coverage", "inception_score"),
    *("fid_infinity", "fid_by_class", "prd_f8", "prd_f1_8", "modes", "diversity", "vendi"),
    *("sliced_wasserstein", "swd", "memorisation"),
)
"""In what order tables show them; others follow by name."""


def in_order(names: Iterable[str]) -> list[str]:
    """Names of metrics as tables show them."""
    return sorted(names, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name))


def metric(
    name: str,
    label: str,
    better: Better,
    *,
    needs: Iterable[Need] = (),
    usual: Usual = False,
    least: Least = lambda dimension, settings: 2,
) -> Callable[[Callable[[MetricContext], MetricResult]], Callable[[MetricContext], MetricResult]]:
    """Registers a function as a metric; the first line of its docstring becomes the summary."""

    def register(find: Callable[[MetricContext], MetricResult]) -> Callable[[MetricContext], MetricResult]:
        summary = (find.__doc__ or "").partition("\n")[0].rstrip(".")
        replace = name in METRICS.registered and same_definition(METRICS.registered[name].find, find)
        METRICS.register(name, replace=replace)(
            Metric(name, label, better, summary, find, frozenset(needs), usual, least)
        )
        return find

    return register


def metric_names(names: Iterable[str]) -> list[str]:
    """The registered names for what the user wrote, groups opened, each once and in that order.

    Raises `UnknownNameError` for an unknown one. "all" is left as it is, for the judge to open.
    """
    found: list[str] = []
    for given in names:
        name = given.strip().lower().replace("-", "_")
        for one in GROUPS.get(name, (ALIASES.get(name, name),)):
            if one != "all":
                METRICS[one]
            found.append(one)
    return list(dict.fromkeys(found))
