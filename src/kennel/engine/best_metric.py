"""How the deciding metric stands: the best so far, and how long ago; it survives a resume."""

from collections.abc import Mapping
from typing import Any

from kennel.engine.observer import VALIDATIONS_SINCE_BEST
from kennel.evaluation.metrics.base import METRICS


class BestMetric:
    """The best value of one metric, by the direction that the registry gives.

    Attributes: `metric`, its registered name; `value`, the best so far, None before the first validation;
    `images_seen` there; `since`, how many validations came after it.
    """

    def __init__(self, metric: str) -> None:
        """Nothing is measured yet."""
        self.metric = metric
        self.value: float | None = None
        self.images_seen = 0
        self.since = 0

    def add(self, images_seen: int, value: float) -> bool:
        """Counts one validation; True where it is the best so far. An equal value is no improvement."""
        if self.value is None or (
            value > self.value if METRICS[self.metric].direction == "higher" else value < self.value
        ):
            self.value, self.images_seen, self.since = value, images_seen, 0
            return True
        self.since += 1
        return False

    def should_stop_early(self, patience: int | None) -> bool:
        """Whether so many validations came without an improvement; never with None."""
        return patience is not None and self.since >= patience

    def about(self) -> dict[str, Any]:
        """Plain values for a checkpoint, for `restore`."""
        return {
            "best": self.value,
            "best_metric": self.metric,
            "best_images": self.images_seen,
            VALIDATIONS_SINCE_BEST: self.since,
        }

    def restore(self, about: Mapping[str, Any]) -> None:
        """Takes up what a checkpoint says; what another metric found is left, and the best is sought anew."""
        if about["best_metric"] == self.metric:
            self.value = about["best"]
            self.images_seen = about["best_images"]
            self.since = about[VALIDATIONS_SINCE_BEST]
