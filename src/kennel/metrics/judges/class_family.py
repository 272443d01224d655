"""Scores by what a classifier names."""

import math

from scipy.stats import t as student

from kennel.errors import JudgementError
from kennel.metrics.contract import Finding, metric
from kennel.metrics.evidence import Evidence
from kennel.metrics.inception_score import inception_score


@metric("inception_score", "Inception Score", "higher", needs=("logits",), usual=True)
def judge_inception_score(evidence: Evidence) -> Finding:
    """Whether a classifier is sure of each image and names many classes over all; no reference enters."""
    if evidence.images.logits is None:
        raise JudgementError(
            f"the {evidence.extractor} extractor has no logits, which the Inception Score needs: "
            "use --extractor inception, mobilenet or classifier, or leave it out of --metrics"
        )
    settings = evidence.settings
    score = inception_score(evidence.images.logits, settings.splits, settings.shuffle_seed)
    details = {"deviation": score.deviation, "classes": int(evidence.images.logits.shape[1])}
    interval = None
    if settings.intervals and score.splits > 1:
        # The splits are disjoint random parts, so their mean has Student's interval.
        reach = float(student.ppf(0.975, score.splits - 1)) * score.deviation / math.sqrt(score.splits - 1)
        interval = max(1.0, score.mean - reach), score.mean + reach
    protocol = {"splits": score.splits, "shuffle_seed": settings.shuffle_seed}
    return Finding(score.mean, details, interval, protocol)
