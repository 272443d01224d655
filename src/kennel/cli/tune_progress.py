"""The progress of `kennel tune`: a bar for the trial in training, and a line for each one that has ended."""

import signal
from collections.abc import Sequence
from typing import Any

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from kennel.cli.console import be_silent, error_console
from kennel.engine.observer import Entry
from kennel.evaluation.metrics.base import METRICS
from kennel.reporting.format import duration, figure
from kennel.tuning.plan import TunePlan
from kennel.tuning.rows import TrialRow, best_of
from kennel.tuning.search import TuneObserver


class TuneProgress(TuneObserver):
    """Shows a search on the terminal; without one, a line for each trial."""

    def __init__(self, plan: TunePlan, trials: int) -> None:
        self._plan, self._trials = plan, trials
        self._label = METRICS[plan.metric].label
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:,.0f}/{task.total:,.0f} images"),
            TimeRemainingColumn(),
            console=error_console,
            transient=True,
            disable=not error_console.is_terminal,
        )
        self._task: Any = None
        self._name = ""

    def __enter__(self) -> "TuneProgress":
        self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.stop()

    def begin(self, rows: Sequence[TrialRow]) -> None:
        """Prints where the search stands."""
        self._say(f"Search: {self._plan.out}, {self._trials} trials of {self._plan.budget_words}")
        ended = [row for row in rows if row.state in ("finished", "pruned", "failed")]
        if ended:
            best = best_of(rows, self._plan.direction)
            words = "" if best is None else f"; best {self._label} {figure(best.score)} of {best.name}"
            self._say(f"Continuing after {len(ended)} trials{words}.")

    def log(self, sentence: str) -> None:
        """Of the messages of single runs only alarms, resumes and stops are shown."""
        if sentence.startswith(("ALARM", "Resuming", "Rollback", "Files in")):
            self._say(f"  {sentence}")

    def on_trial_begin(self, row: TrialRow, changes: Sequence[str]) -> None:
        self._name = row.name
        self._clear()
        self._task = self._progress.add_task(row.name, total=self._plan.trial.budget.images or 1)

    def on_iteration(self, images_seen: int, total: int) -> None:
        if self._task is not None:
            self._progress.update(self._task, completed=images_seen, total=total)

    def on_tick(self, entry: Entry) -> None:
        score = entry.get(self._plan.metric)
        if self._task is not None and isinstance(score, int | float):
            self._progress.update(
                self._task, description=f"{self._name} {self._label} {figure(float(score))}"
            )

    def on_trial_end(self, row: TrialRow, best: TrialRow | None) -> None:
        self._clear()
        score = "" if row.score is None else f"  {self._label} {figure(row.score)}"
        if row.state == "pruned":
            score += f" after {row.images or 0:,} images"
        words = {"finished": "", "interrupted": ""}.get(row.state, f"  {row.state}")
        reason = f": {row.reason}" if row.reason and row.state == "failed" else ""
        own = "  (the recipe's own values)" if row.own else ""
        time = "" if row.seconds is None else f"  {duration(row.seconds)}"
        mark = "  best so far" if best is not None and best.number == row.number and not row.own else ""
        self._say(f"{row.name}{score}{words}{reason}{time}{own}{mark}")

    def on_stop_requested(self, by: int) -> None:
        super().on_stop_requested(by)
        if by == getattr(signal, "SIGHUP", None):  # the terminal is gone; writing to it would fail
            be_silent()
        again = "Ctrl-C again" if by == signal.SIGINT else "a second signal"
        self._say(f"Stopping with a checkpoint ({again}: stop immediately, without one).")

    def _say(self, sentence: str) -> None:
        self._progress.console.print(sentence, soft_wrap=True)

    def _clear(self) -> None:
        if self._task is not None:
            self._progress.remove_task(self._task)
            self._task = None
