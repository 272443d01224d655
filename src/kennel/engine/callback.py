"""The base class of everything that happens in a run in addition to its training steps."""

from typing import ClassVar

from kennel.engine.observer import Entry
from kennel.engine.state import TrainState


class Callback:
    """Acts on a run at its start, its end, each iteration and each tick. Override the methods you need.

    Callbacks run in the order of their list. With several ranks they run on rank 0 only, unless
    `on_all_ranks`.
    """

    on_all_ranks: ClassVar[bool] = False

    def on_train_begin(self, state: TrainState) -> None:
        """Before the first iteration of a process, and again after a rollback."""

    def on_iteration_end(self, state: TrainState) -> None:
        """After every iteration, which is the discriminator's steps and the generator's."""

    def on_tick(self, state: TrainState, entry: Entry) -> None:
        """At a tick. `entry` is the tick's log line; a callback may add numbers to it by name."""

    def on_train_end(self, state: TrainState) -> None:
        """When the run ends. `state.finished` is False if it stops before its budget is spent."""
