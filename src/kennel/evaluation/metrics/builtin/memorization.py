"""The metric of memorized images."""

from typing import Any

import numpy as np

from kennel.evaluation.metrics.base import MetricResult, metric
from kennel.evaluation.metrics.context import MetricContext, wilson_interval
from kennel.evaluation.metrics.near_copies import Suspect, allowed_difference, has_pixels, suspects
from kennel.features.moments import Float64Array

SUSPICION = 0.01  # The quantile of the real images' distances below which an image is suspicious
QUANTILES = (0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 1)
MOST_SUSPICIOUS = 64


@metric("memorisation", "Suspected copies", "lower")
def judge_memorization(context: MetricContext) -> MetricResult:
    """The share of images as near to a reference image as the nearest 1% of real ones: 0.01 without copies.

    The value uses features only. Pixels decide which images are copies: see `copies`, and the verdicts in
    `most_suspicious`.
    """
    found = context.nearest
    held_out = context.held_out_distances
    baseline = context.reference_distances if held_out is None else held_out
    threshold = float(np.quantile(baseline, SUSPICION))
    # Duplicates among the real images can make the threshold 0, the distance of copies, so it is included.
    suspected = found.distances <= threshold
    share = float(suspected.mean())
    ranked = suspects(context)
    details: dict[str, Any] = {
        "threshold": threshold,
        "suspected": int(suspected.sum()),
        "distance": float(found.distances.mean()),
        "baseline_distance": float(baseline.mean()),
        "most_suspicious": [_entry(one) for one in ranked[:MOST_SUSPICIOUS]],
        "quantiles": {
            "images": _quantiles(found.distances),
            "reference to itself": _quantiles(context.reference_distances),
        }
        | ({} if held_out is None else {"held-out images": _quantiles(held_out)}),
    }
    if has_pixels(context):
        details["compared"] = sum(one.alignment is not None for one in ranked)
        details["copies"] = sum(one.copied for one in ranked)
        details["allowed_difference"], details["copies_among_the_reference"] = allowed_difference(context)
    # For a fixed reference and threshold the rows are independent.
    interval = wilson_interval(share, len(found.distances)) if context.settings.intervals else None
    baseline_name = "reference to itself" if held_out is None else "held out"
    protocol = {"suspicion": SUSPICION, "baseline": baseline_name} | context.held_out_source
    return MetricResult(share, details, interval, protocol)


def _entry(suspect: Suspect) -> dict[str, Any]:
    """For the JSON: indices in both sets, and the result of the pixel comparison."""
    entry: dict[str, Any] = {
        "image": suspect.image,
        "reference": suspect.reference,
        "distance": suspect.distances[suspect.references.index(suspect.reference)],
        "ratio": suspect.ratio,
    }
    if suspect.alignment is not None:
        entry |= {"verdict": suspect.verdict, "rms": suspect.alignment.rms}
    return entry


def _quantiles(distances: Float64Array) -> list[float]:
    return [float(part) for part in np.quantile(distances, QUANTILES)]
