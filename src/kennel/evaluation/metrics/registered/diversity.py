"""How much the images vary."""

from kennel.evaluation.metrics.base import MetricResult, metric
from kennel.evaluation.metrics.context import NORMAL_95, MetricContext, MetricSettings
from kennel.evaluation.metrics.diversity import relative_diversity, vendi
from kennel.evaluation.metrics.prd import CLUSTERS, Prd, prd


def _of_three(_dimension: int, _settings: MetricSettings) -> int:
    return 3


def _one_a_cluster(_dimension: int, _settings: MetricSettings) -> int:
    return CLUSTERS


@metric("diversity", "Diversity", "neither", least=_of_three)
def judge_diversity(context: MetricContext) -> MetricResult:
    """The mean distance between the features of two images, by that of two real ones: 1 is as varied."""
    found = relative_diversity(*context.equal_sides)
    details = {"images": found.fakes.mean_distance, "reference": found.reference.mean_distance}
    interval = None
    if context.settings.intervals:
        reach = NORMAL_95 * found.standard_error
        interval = found.ratio - reach, found.ratio + reach
    return MetricResult(found.ratio, details, interval, {"count_a_side": len(context.equal_sides[0])})


@metric("vendi", "Vendi score", "higher")
def judge_vendi(context: MetricContext) -> MetricResult:
    """How many entirely different images would be as varied, by the entropy of the cosine kernel."""
    images, reference = context.equal_sides
    details = {"reference": vendi(reference).score}
    return MetricResult(vendi(images).score, details, protocol={"count_a_side": len(images)})


@metric("prd_f8", "PRD F8 (recall)", "higher", least=_one_a_cluster)
def judge_prd_f8(context: MetricContext) -> MetricResult:
    """Of the curve of precision and recall over clusters the greatest F8, which weighs recall."""
    return _finding(_prd(context), "f8")


@metric("prd_f1_8", "PRD F1/8 (precision)", "higher", least=_one_a_cluster)
def judge_prd_f1_8(context: MetricContext) -> MetricResult:
    """Of the curve of precision and recall over clusters the greatest F1/8, which weighs precision."""
    return _finding(_prd(context), "f1_8")


def _prd(context: MetricContext) -> Prd:
    images, reference = context.equal_sides
    return context.once("prd", lambda: prd(images, reference, seed=context.settings.seed))


def _finding(found: Prd, figure: str) -> MetricResult:
    details = {
        "deviation": float(getattr(found, f"{figure}_deviation")),
        "f1": found.f1,
        "curve": {
            "recall": [round(float(value), 6) for value in found.curve.recall[::20]],
            "precision": [round(float(value), 6) for value in found.curve.precision[::20]],
        },
    }
    protocol = {"clusters": found.clusters, "runs": found.runs, "count_a_side": found.count}
    return MetricResult(float(getattr(found, figure)), details, protocol=protocol)
