"""The training loop: iterations until the budget is spent, with callbacks after iterations and at ticks."""

import time
from collections.abc import Callable, Sequence

from kennel.cancellation import CancelledError
from kennel.engine.callback import Callback
from kennel.engine.iteration import iterate
from kennel.engine.observer import Entry
from kennel.engine.running_means import refuse_non_finite
from kennel.engine.state import TrainState


class Trainer:
    """Trains `state` and calls the callbacks in the order of their list."""

    def __init__(
        self,
        state: TrainState,
        callbacks: Sequence[Callback] = (),
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """`should_stop` is called before every iteration."""
        self.state = state
        self.callbacks = callbacks
        self.should_stop = should_stop

    def run(self) -> bool:
        """Trains until the budget is spent (returns True) or `should_stop` is true (returns False)."""
        state = self.state
        for callback in self.callbacks:
            callback.on_train_begin(state)
        started, before = time.monotonic(), state.seconds
        outside = 0.0  # seconds spent in callbacks, which do not count as training
        tick_start = (state.images_seen, state.seconds)
        while state.tick_due or not state.is_over:
            if self.should_stop():
                refuse_non_finite(state.running_means.means(), state.images_seen)
                self._end(finished=False)
                return False
            if not state.tick_due:
                tick = state.tick
                iterate(state)
                state.seconds = before + time.monotonic() - started - outside
                for callback in self.callbacks:
                    callback.on_iteration_end(state)
                state.tick_due = state.tick > tick or state.is_over
            if state.tick_due:
                callbacks_start = time.monotonic()
                self._tick(tick_start)
                outside += time.monotonic() - callbacks_start
                tick_start = (state.images_seen, state.seconds)
        self._end(finished=True)
        return True

    def _tick(self, start: tuple[int, float]) -> None:
        """Runs the tick's callbacks. If one is cancelled, the tick stays due and the means are restored."""
        state = self.state
        sums = state.running_means.state_dict()
        means = state.running_means.read()
        refuse_non_finite(means, state.images_seen)
        images, seconds = state.images_seen - start[0], state.seconds - start[1]
        entry: Entry = {
            "images": state.images_seen,
            "seconds": round(state.seconds, 3),
            "images_per_second": round(images / seconds, 2) if seconds > 0 else None,
            **means,
        }
        state.tick_due = False
        try:
            for callback in self.callbacks:
                callback.on_tick(state, entry)
        except CancelledError:
            state.running_means.load_state_dict(sums)
            state.tick_due = True

    def _end(self, *, finished: bool) -> None:
        self.state.finished = finished
        for callback in self.callbacks:
            callback.on_train_end(self.state)
