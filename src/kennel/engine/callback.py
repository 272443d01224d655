"""What happens in a run besides its training steps."""

from typing import ClassVar

from kennel.engine.observer import Entry
from kennel.engine.state import TrainState


class Callback:
    """One duty in a run. A subclass overrides the methods that it needs.

    Callbacks are called in the order of their list. With several ranks, those of rank 0 are called alone,
    unless `on_all_ranks`.
    """

    on_all_ranks: ClassVar[bool] = False

    def on_train_begin(self, state: TrainState) -> None:
        """Before the first iteration of a session, and again after a rollback."""

    def on_iteration_end(self, state: TrainState) -> None:
        """After every iteration: the discriminator's steps and the generator's."""

    def on_tick(self, state: TrainState, entry: Entry) -> None:
        """At a tick. `entry` is its line of the log, to which a callback may add numbers by name."""

    def on_train_end(self, state: TrainState) -> None:
        """When the run ends: `state.finished`, or stopped before its end."""
