"""FID and metrics derived from it."""

from typing import Any

import numpy as np

from kennel.evaluation.metrics.base import MetricResult, metric
from kennel.evaluation.metrics.context import MetricContext, MetricSettings
from kennel.evaluation.metrics.fid_infinity import POINTS, fid_infinity
from kennel.evaluation.metrics.mifid import TINY, mifid


@metric("fid", "FID", "lower", default=True)
def judge_fid(context: MetricContext) -> MetricResult:
    """The Fréchet distance between Gaussians of the features; comparable at equal counts only."""
    details: dict[str, Any] = {}
    if context.floor is not None:
        details = {"real_v_real": context.floor.fid, "real_v_real_count": context.floor.count}
    return MetricResult(context.fid, details, context.fid_interval)


@metric("mifid", "MiFID", "lower", default="learned")
def judge_mifid(context: MetricContext) -> MetricResult:
    """FID divided by the distance to the training images if that is suspiciously small (Kaggle)."""
    distances = context.nearest.distances
    scored = mifid(context.fid, float(distances.mean()), context.settings.epsilon)
    details: dict[str, Any] = {
        "fid": scored.fid,
        "distance": scored.distance,
        "epsilon": scored.epsilon,
        "penalty": scored.penalty,
        "distance_quantiles": [float(part) for part in np.quantile(distances, (0, 0.05, 0.5, 0.95, 1))],
    }
    if context.held_out_distances is not None:
        details["held_out_distance"] = float(context.held_out_distances.mean())
        details |= context.held_out_source
    elif context.floor is not None:
        details |= {
            "held_out_distance": context.floor.distance,
            "held_out": "half of the reference",
            "held_out_count": context.floor.count,
        }
    protocol = {
        "epsilon": scored.epsilon,
        "direction": "mean over the images of the minimum over the reference",
    }
    interval = context.fid_interval
    if interval is not None:
        interval = interval[0] / (scored.penalty + TINY), interval[1] / (scored.penalty + TINY)
    return MetricResult(scored.value, details, interval, protocol)


def _min_images(dimension: int, _settings: MetricSettings) -> int:
    # Half of the images have a covariance of full rank, and the other half allow different counts.
    return max(2 * dimension + 2, 2 * POINTS - 3)


@metric("fid_infinity", "FID at infinity", "lower", min_images=_min_images)
def judge_fid_infinity(context: MetricContext) -> MetricResult:
    """FID extrapolated to unlimited images: the intercept of FID over 1/N."""
    settings = context.settings
    found = fid_infinity(context.images.features, context.reference_moments, seed=settings.seed)
    details = {
        "fid": context.fid,
        "slope": found.slope,
        "r_squared": found.r_squared,
        "error_of_the_line": found.standard_error,
        "counts": [int(count) for count in found.counts],
        "fids": [float(fid) for fid in found.fids],
    }
    return MetricResult(
        found.value, details, protocol={"points": len(found.counts), "fewest": int(found.counts[0])}
    )
