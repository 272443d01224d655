"""The callback that reports a trial's validations and stops it when the pruner says so."""

import math
import time
from dataclasses import dataclass

import optuna

from kennel.engine.callback import Callback
from kennel.engine.observer import Entry
from kennel.engine.state import TrainState
from kennel.runs.run_dir import RunDir
from kennel.tuning.trials import ALIVE


@dataclass(eq=False)
class ReportScores(Callback):
    """Reports each validation to `trial`; with `may_prune` the pruner may stop the run, with a checkpoint.

    `pruned` is whether it did; `reported` the number of validations that Optuna knows.
    """

    trial: optuna.Trial
    run_dir: RunDir
    metric: str
    may_prune: bool
    reported: int = 0
    pruned: bool = False
    _seen: int = 0

    def on_train_begin(self, state: TrainState) -> None:
        """Reports the validations from before a resume; after a rollback they are reported already."""
        self._seen = 0
        for line in self.run_dir.log():
            self._add(line.get(self.metric))

    def on_tick(self, state: TrainState, entry: Entry) -> None:
        """Reports the tick's validation, if it has one, and asks the pruner; not at the end of the budget."""
        self.trial.set_user_attr(ALIVE, time.time())
        if not self._add(entry.get(self.metric)) or state.is_over or not self.may_prune:
            return
        if self.trial.should_prune():
            self.pruned = state.stop_requested = True

    def _add(self, score: object) -> bool:
        """Adds a finite score with the number of its validation as the step; the same step only once."""
        if not isinstance(score, int | float) or not math.isfinite(score):
            return False
        self._seen += 1
        if self._seen > self.reported:
            self.trial.report(float(score), self._seen)
            self.reported = self._seen
        return True
