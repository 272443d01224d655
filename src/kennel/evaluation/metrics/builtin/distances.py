"""Distances without a Gaussian assumption: KID, sliced Wasserstein, SWD."""

import math

from kennel.data.images import Subset
from kennel.errors import JudgementError
from kennel.evaluation.metrics.base import MetricResult, metric
from kennel.evaluation.metrics.context import MetricContext, normal_interval
from kennel.evaluation.metrics.kid import SUBSET_SEED, kid, kid_of_all_pairs
from kennel.evaluation.metrics.laplacian_swd import laplacian_distance
from kennel.evaluation.metrics.sliced_wasserstein import sliced_wasserstein

MAX_ERROR_ROWS = 5000  # Maximum rows of a side for KID's standard error; more rows only divide it


@metric("kid", "KID", "lower", default=True)
def judge_kid(context: MetricContext) -> MetricResult:
    """The squared maximum mean discrepancy under a cubic kernel: unbiased at any count."""
    found = kid(context.images.features, context.reference.features)
    details = {"deviation": found.deviation}
    interval = None
    if context.settings.intervals:
        images, reference = context.equal_count_subsets(MAX_ERROR_ROWS)
        error = kid_of_all_pairs(images, reference).standard_error
        share = len(images) / len(context.equal_count_features[0])
        # The value varies with the images, as over all pairs, and with the drawn subsets.
        interval = normal_interval(
            found.mean, math.hypot(error * share**0.5, found.deviation / found.subsets**0.5)
        )
    protocol = {
        "subsets": found.subsets,
        "subset_size": found.subset_size,
        "subset_seed": SUBSET_SEED,
        "kernel": "(x.y/d + 1)^3",
    }
    return MetricResult(found.mean, details, interval, protocol)


@metric("sliced_wasserstein", "Sliced Wasserstein", "lower")
def judge_sliced_wasserstein(context: MetricContext) -> MetricResult:
    """The 2-Wasserstein distance of the features along random directions."""
    found = sliced_wasserstein(
        context.images.features, context.reference.features, seed=context.settings.seed
    )
    return MetricResult(
        found.value, {"mean_square": found.mean_square}, protocol={"projections": found.projections}
    )


@metric("swd", "SWD", "lower", needs=("pyramid",))
def judge_swd(context: MetricContext) -> MetricResult:
    """The sliced Wasserstein distance of patches of a Laplacian pyramid, times 1,000; no features."""
    images, reference = (
        side.source if side.source is None or side.rows is None else Subset(side.source, side.rows)
        for side in (context.images, context.reference)
    )
    if images is None or reference is None:
        raise JudgementError("SWD needs pixels, and only features are given: leave it out of --metrics")
    found = laplacian_distance(images, reference, seed=context.settings.seed)
    details = {f"at_{size}": float(one) for size, one in zip(found.sizes, found.distances, strict=True)}
    return MetricResult(found.mean, details, protocol={"images": found.images, "patches": found.patches})
