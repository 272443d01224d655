"""Tracks the best value of the deciding metric, also across a resume."""

from collections.abc import Mapping
from typing import Any

from kennel.engine.observer import VALIDATIONS_SINCE_BEST
from kennel.evaluation.metrics.base import METRICS


class BestMetric:
    """The best value of one metric, compared in the metric's registered direction.

    Attributes: `metric`, its registered name; `value`, the best so far, None before the first validation;
    `images_seen` at that value; `since`, the number of validations after it.
    """

    def __init__(self, metric: str) -> None:
        self.metric = metric
        self.value: float | None = None
        self.images_seen = 0
        self.since = 0

    def add(self, images_seen: int, value: float) -> bool:
        """Counts one validation; True if it is the best so far. An equal value is no improvement."""
        if self.value is None or (
            value > self.value if METRICS[self.metric].direction == "higher" else value < self.value
        ):
            self.value, self.images_seen, self.since = value, images_seen, 0
            return True
        self.since += 1
        return False

    def should_stop_early(self, patience: int | None) -> bool:
        """Whether the last `patience` validations brought no improvement; never with None."""
        return patience is not None and self.since >= patience

    def about(self) -> dict[str, Any]:
        """Plain values for a checkpoint, which `restore` reads."""
        return {
            "best": self.value,
            "best_metric": self.metric,
            "best_images": self.images_seen,
            VALIDATIONS_SINCE_BEST: self.since,
        }

    def restore(self, about: Mapping[str, Any]) -> None:
        """Reads a checkpoint's values; those of another metric are ignored, and the search starts again."""
        if about["best_metric"] == self.metric:
            self.value = about["best"]
            self.images_seen = about["best_images"]
            self.since = about[VALIDATIONS_SINCE_BEST]
