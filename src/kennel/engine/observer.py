"""What a run reports to the command line or to other code."""

from collections.abc import MutableMapping

Entry = MutableMapping[str, float | int | str | None]
"""One tick's log line: plain values by name."""

VALIDATIONS_SINCE_BEST = "validations_since_best"
"""The entry's key for the number of validations after the best one; 0 if this one is the best."""

ALARMS_RAISED = "alarms"
"""The entry's key for the names of the alarms that a tick raised, joined by commas."""


class TrainObserver:
    """Ignores all reports; the command line's subclass draws a progress bar and prints a line per tick."""

    def log(self, sentence: str) -> None:
        """A message, such as a resume, a chosen extractor or a damaged checkpoint."""

    def on_iteration(self, images_seen: int, total: int) -> None:
        """After every iteration."""

    def on_tick(self, entry: Entry) -> None:
        """After every tick, with its log line."""

    def on_stop_requested(self, by: int) -> None:
        """A signal with the number `by` requests a stop; the run ends soon."""
