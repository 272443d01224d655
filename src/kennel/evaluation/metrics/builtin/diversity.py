"""Metrics of diversity."""

from kennel.evaluation.metrics.base import MetricResult, metric
from kennel.evaluation.metrics.context import MetricContext, normal_interval
from kennel.evaluation.metrics.diversity import relative_diversity, vendi
from kennel.evaluation.metrics.prd import CLUSTERS, prd


@metric("diversity", "Diversity", "neither", min_images=lambda *_: 3)
def judge_diversity(context: MetricContext) -> MetricResult:
    """The mean distance between two images, divided by that of two real images: 1 for equal variety."""
    found = relative_diversity(*context.equal_count_features)
    details = {"images": found.fakes.mean_distance, "reference": found.reference.mean_distance}
    interval = normal_interval(found.ratio, found.standard_error) if context.settings.intervals else None
    return MetricResult(
        found.ratio, details, interval, {"count_a_side": len(context.equal_count_features[0])}
    )


@metric("vendi", "Vendi score", "higher")
def judge_vendi(context: MetricContext) -> MetricResult:
    """The effective number of different images, by the entropy of the cosine kernel."""
    images, reference = context.equal_count_features
    details = {"reference": vendi(reference)}
    return MetricResult(vendi(images), details, protocol={"count_a_side": len(images)})


@metric("prd_f8", "PRD F8 (recall)", "higher", min_images=lambda *_: CLUSTERS)
def judge_prd_f8(context: MetricContext) -> MetricResult:
    """The maximum F8 of precision and recall over clusters, which weighs recall."""
    return _prd_result(context, "f8")


@metric("prd_f1_8", "PRD F1/8 (precision)", "higher", min_images=lambda *_: CLUSTERS)
def judge_prd_f1_8(context: MetricContext) -> MetricResult:
    """The maximum F1/8 of precision and recall over clusters, which weighs precision."""
    return _prd_result(context, "f1_8")


def _prd_result(context: MetricContext, score: str) -> MetricResult:
    images, reference = context.equal_count_features
    found = context.cached("prd", lambda: prd(images, reference, seed=context.settings.seed))
    details = {
        "deviation": float(getattr(found, f"{score}_deviation")),
        "f1": found.f1,
        "curve": {
            "recall": [round(float(value), 6) for value in found.curve.recall[::20]],
            "precision": [round(float(value), 6) for value in found.curve.precision[::20]],
        },
    }
    protocol = {"clusters": found.clusters, "runs": found.runs, "count_a_side": found.count}
    return MetricResult(float(getattr(found, score)), details, protocol=protocol)
