"""What a run tells whoever looks on."""

from collections.abc import MutableMapping

Entry = MutableMapping[str, float | int | str | None]
"""One tick's line of the log: plain numbers by name."""

VALIDATIONS_SINCE_BEST = "validations_since_best"
"""The entry's key for how many validations came after the best one; 0 where this one is the best so far."""

ALARMS_RAISED = "alarms"
"""The entry's key for the alarms that a tick raised: their names, joined by commas."""


class TrainObserver:
    """This one listens to nothing; the command line draws a bar and prints a line a tick."""

    def log(self, sentence: str) -> None:
        """Something worth a line: a resume, an extractor chosen, a damaged checkpoint."""

    def on_iteration(self, images_seen: int, total: int) -> None:
        """After every iteration."""

    def on_tick(self, entry: Entry) -> None:
        """After every tick, with its line of the log."""

    def on_stop_requested(self, by: int) -> None:
        """The run was asked to stop, by the signal of this number; it says so, and ends soon."""
