"""Metrics by class: Inception Score, modes, FID by class."""

import math

from scipy.special import stdtrit

from kennel.errors import JudgementError
from kennel.evaluation.metrics.base import MetricResult, metric
from kennel.evaluation.metrics.context import MetricContext, MetricSettings
from kennel.evaluation.metrics.fid_per_class import fid_by_class
from kennel.evaluation.metrics.inception_score import inception_score
from kennel.evaluation.metrics.mode_coverage import modes_of_classes


def _splits(_dimension: int, settings: MetricSettings) -> int:
    return settings.splits


@metric("inception_score", "Inception Score", "higher", needs=("logits",), default=True, min_images=_splits)
def judge_inception_score(context: MetricContext) -> MetricResult:
    """Whether a classifier is certain of each image, and sees many classes over all images; no reference."""
    if context.images.logits is None:
        raise JudgementError(
            f"the {context.extractor} extractor has no logits, which the Inception Score needs: "
            "use --extractor inception, mobilenet or classifier, or leave it out of --metrics"
        )
    settings = context.settings
    score = inception_score(context.images.logits, settings.splits, settings.shuffle_seed)
    details = {"deviation": score.deviation, "classes": int(context.images.logits.shape[1])}
    interval = None
    if settings.intervals and score.splits > 1:
        # The splits are disjoint random parts, so their mean has Student's interval.
        half = float(stdtrit(score.splits - 1, 0.975)) * score.deviation / math.sqrt(score.splits - 1)
        interval = max(1.0, score.mean - half), score.mean + half
    protocol = {"splits": score.splits, "shuffle_seed": settings.shuffle_seed}
    return MetricResult(score.mean, details, interval, protocol)


@metric("modes", "Modes", "higher", needs=("logits",))
def judge_modes(context: MetricContext) -> MetricResult:
    """How many of the extractor's classes occur among the images, and how their shares differ."""
    predicted, reference = context.images.predictions, context.reference.predictions
    if predicted is None or reference is None or context.images.logits is None:
        raise JudgementError(
            f"the {context.extractor} extractor has no classes, and modes are counted by class: "
            "use --extractor classifier, or leave modes out of --metrics"
        )
    classes = int(context.images.logits.shape[1])
    found = modes_of_classes(predicted, classes, reference)
    real = modes_of_classes(reference, classes)
    details = {
        "modes_of_the_reference": real.covered,
        "classes": classes,
        # KL is infinite if an image is of a class that the reference lacks.
        "divergence": found.divergence if math.isfinite(found.divergence) else None,
    }
    return MetricResult(float(found.covered), details, protocol={"least": found.min_samples})


@metric("fid_by_class", "FID by class", "lower", needs=("labels",))
def judge_fid_by_class(context: MetricContext) -> MetricResult:
    """The FID of each class, and their mean: it also measures variety within classes."""
    labels, reference_labels, names = context.shared_labels()
    found = fid_by_class(context.images.features, labels, context.reference.features, reference_labels, names)
    details = {
        "worst": names[found.worst],
        "measured": len(found.classes),
        "classes": [
            {"class": one.name, "fid": one.fid, "images": one.fakes, "reference": one.reference}
            for one in found.classes.values()
        ],
        "not_measured": [names[label] for label in found.not_measured],
    }
    return MetricResult(found.mean, details)
