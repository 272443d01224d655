"""Whether images were learnt by heart."""

from typing import Any

import numpy as np

from kennel.evaluation.metrics.base import MetricResult, metric
from kennel.evaluation.metrics.context import MetricContext, wilson
from kennel.evaluation.metrics.near_copies import Suspect, allowed_difference, has_pixels, suspects
from kennel.features.moments import Float64Array

SUSPICION = 0.01
"""The share of real images that are as near to the reference as what counts as suspicious."""
QUANTILES = (0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 1)
MOST_SUSPICIOUS = 64


@metric("memorisation", "Suspected copies", "lower")
def judge_memorisation(context: MetricContext) -> MetricResult:
    """The share of images as near to a reference image as the nearest 1% of real ones: 0.01 for new ones.

    That is the value, by features alone. Which images are copies is looked up in the pixels: `copies`, and
    `most_suspicious` with each one's verdict.
    """
    found = context.nearest
    held_out = context.held_out_distances
    baseline = context.reference_distances if held_out is None else held_out
    threshold = float(np.quantile(baseline, SUSPICION))
    # Real images that occur twice bring the threshold to 0, where only copies are: it counts in.
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
    # Of other images against the same reference, whose threshold is a fixed one: a share of independent rows.
    interval = wilson(share, len(found.distances)) if context.settings.intervals else None
    baseline_name = "reference to itself" if held_out is None else "held out"
    protocol = {"suspicion": SUSPICION, "baseline": baseline_name} | context.held_out_source
    return MetricResult(share, details, interval, protocol)


def _entry(one: Suspect) -> dict[str, Any]:
    """For the JSON: indices in the two sets, and what the pixels say where they were compared."""
    place = one.references.index(one.reference)
    entry: dict[str, Any] = {
        "image": one.image,
        "reference": one.reference,
        "distance": one.distances[place],
        "ratio": one.ratio,
    }
    if one.alignment is not None:
        entry |= {"verdict": one.verdict, "rms": one.alignment.rms}
    return entry


def _quantiles(distances: Float64Array) -> list[float]:
    return [float(part) for part in np.quantile(distances, QUANTILES)]
