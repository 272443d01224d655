"""Runs the trials of a search one after another in this process."""

import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import optuna
from optuna.trial import FrozenTrial, TrialState

from kennel.config.recipe import Recipe, override
from kennel.engine.observer import TrainObserver
from kennel.errors import RecipeError, RunError
from kennel.runs.run_dir import RunDir
from kennel.storage.lock import is_locked
from kennel.training.run import train
from kennel.training.time_budget import images_of, measured_speed
from kennel.tuning.plan import Keep, TunePlan
from kennel.tuning.pruning import ReportScores
from kennel.tuning.rows import State, TrialRow, best_of, own_of
from kennel.tuning.trials import (
    CONTINUES,
    INTERRUPTED,
    MEASURED,
    OWN,
    REASON,
    Trials,
    open_study,
    suggest,
)

STATES: dict[TrialState, State] = {
    TrialState.COMPLETE: "finished",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}


class TuneObserver(TrainObserver):
    """Ignores all reports of a search and of the runs in it; see also `TrainObserver`.

    `stopped_by` is the signal that stopped a run.
    """

    stopped_by: int | None = None

    def on_trial_begin(self, row: TrialRow, changes: Sequence[str]) -> None:
        """Before a trial trains; `changes` are its settings."""

    def on_trial_end(self, row: TrialRow, best: TrialRow | None) -> None:
        """After a trial, with the best of the search so far."""

    def on_stop_requested(self, by: int) -> None:
        """A signal stops the search."""
        self.stopped_by = by


@dataclass
class Search:
    """A search: `run` trains what is missing of `count` trials."""

    plan: TunePlan
    count: int
    storage: str | None = None
    prune: bool = True
    keep: Keep = "best"
    observer: TuneObserver = field(default_factory=TuneObserver)
    resident_bytes: int | None = None
    on_change: Callable[[Sequence[TrialRow]], object] = lambda rows: None
    """Called with all trials after each one."""

    def open(self, *, create: bool = True) -> None:
        """Opens the storage; raises `TuningError` if that is impossible, or if it holds another search."""
        study = open_study(self.plan, self.storage, self.prune, create=create)
        self.trials = Trials(study, self.plan, self.count, self.storage is None)

    def run(self) -> bool:
        """Trains until the search has `count` trials; False where a signal stopped it.

        A trial whose values do not fit, or which diverges, is recorded as failed. Errors of the data, the
        storage and the disk end the search; the trial in progress is continued by the next call.
        """
        with self.trials.working(self.observer.log):
            while (trial := self.trials.ask()) is not None:
                finished = self._trial(trial)
                rows = self.rows()
                row = next(one for one in rows if one.number == trial.number)
                self.observer.on_trial_end(row, best_of(rows, self.plan.direction))
                self.on_change(rows)
                self._remove_checkpoints(rows)
                if not finished:
                    return False
        return True

    def rows(self) -> list[TrialRow]:
        """All trials by number."""
        return [self._row(one) for one in self.trials.study.get_trials(deepcopy=False)]

    def _trial(self, trial: optuna.Trial) -> bool:
        """Runs one trial and records how it ended; False if a signal stopped it."""
        stopped = True
        try:
            stopped = not self._train(trial)
        except (RecipeError, RunError) as error:
            if isinstance(error.__cause__, OSError):  # the disk, not the trial's values
                self.trials.interrupt(trial)
                raise
            self._measure(trial, self.plan.run_dir(trial.number))
            self.trials.fail(trial, " ".join(str(error).split()))
            return True
        except BaseException:
            self.trials.interrupt(trial)
            raise
        return not stopped

    def _train(self, trial: optuna.Trial) -> bool:
        """Trains the trial's run and tells Optuna; False if a signal stopped it."""
        plan, observer = self.plan, self.observer
        is_own = bool(trial.user_attrs.get(OWN)) and not plan.space.contains_own
        values = {} if is_own else {one.key: suggest(trial, one) for one in plan.space.dimensions}
        observer.on_trial_begin(self._row(self._frozen(trial)), plan.space.settings(values))
        folder = plan.run_dir(trial.number)
        self._take_over(trial, folder)
        recipe = self._with_budget(plan.trial_recipe(values), folder)
        report = ReportScores(
            trial, folder, plan.metric, may_prune=self.prune and not trial.user_attrs.get(OWN)
        )
        finished = train(
            recipe,
            plan.data,
            folder.path,
            device=plan.device,
            weights=plan.weights,
            observer=observer,
            resident_bytes=self.resident_bytes,
            callbacks=[report],
        )
        self._measure(trial, folder)
        if report.pruned and not finished:
            self.trials.study.tell(trial, state=TrialState.PRUNED)
            return observer.stopped_by is None
        if not finished:
            self.trials.interrupt(trial)
            return False
        scores = [float(line[plan.metric]) for line in folder.log() if plan.metric in line]
        if not scores or not all(map(math.isfinite, scores)):
            self.trials.fail(trial, f"the run has no finite {plan.metric}")
            return True
        pick = max if plan.direction == "maximize" else min
        self.trials.study.tell(trial, pick(scores))
        return True

    def _with_budget(self, recipe: Recipe, folder: RunDir) -> Recipe:
        """The recipe with as many images as fit into the hours; a run that has begun keeps its budget."""
        plan = self.plan
        if folder.exists():
            return recipe.model_copy(update={"budget": folder.recipe().budget})
        if plan.hours is None:
            return recipe
        speed = measured_speed(recipe, plan.data, plan.device, plan.weights, self.resident_bytes)
        return override(recipe, [f"budget.images={images_of(plan.hours, speed, recipe.batch_size)}"])

    def _take_over(self, trial: optuna.Trial, folder: RunDir) -> None:
        """Moves the run of the interrupted trial that this one continues, if it lies in this folder."""
        before = trial.user_attrs.get(CONTINUES)
        if before is None or folder.path.exists():
            return
        old = self.plan.run_dir(int(before)).path
        if old.is_dir() and not is_locked(old):
            old.rename(folder.path)

    def _measure(self, trial: optuna.Trial, folder: RunDir) -> None:
        """Records images, seconds, and the images at the best score, from the run's log."""
        log = folder.log()
        scored = [line for line in log if self.plan.metric in line]
        if not log:
            return
        found = {"images": int(log[-1]["images"]), "seconds": float(log[-1].get("seconds") or 0.0)}
        if scored:
            pick = max if self.plan.direction == "maximize" else min
            best = pick(scored, key=lambda line: float(line[self.plan.metric]))
            found["best_images"] = int(best["images"])
        trial.set_user_attr(MEASURED, found)

    def _frozen(self, trial: optuna.Trial) -> FrozenTrial:
        return self.trials.study.get_trials(deepcopy=False)[trial.number]

    def _row(self, trial: FrozenTrial) -> TrialRow:
        attributes = trial.user_attrs
        measured = attributes.get(MEASURED, {})
        state: State = "interrupted" if attributes.get(INTERRUPTED) else STATES[trial.state]
        scores = [one for one in trial.intermediate_values.values() if math.isfinite(one)]
        pick = max if self.plan.direction == "maximize" else min
        score = trial.value if trial.state == TrialState.COMPLETE else pick(scores, default=None)
        values = trial.params or (self.plan.space.own if attributes.get(OWN) else {})
        return TrialRow(
            trial.number,
            state,
            score,
            measured.get("best_images"),
            measured.get("images"),
            measured.get("seconds"),
            {one.key: values.get(one.key) for one in self.plan.space.dimensions},
            attributes.get(REASON, ""),
            bool(attributes.get(OWN)),
            attributes.get(CONTINUES),
        )

    def _remove_checkpoints(self, rows: Sequence[TrialRow]) -> None:
        """With `keep` "best", removes the checkpoints of ended trials but the best and the recipe's own.

        Logs, grids and recipes of all runs stay.
        """
        if self.keep == "all":
            return
        kept = {row.number for row in (best_of(rows, self.plan.direction), own_of(rows)) if row is not None}
        for row in rows:
            folder = self.plan.run_dir(row.number)
            has_ended = row.state in ("finished", "pruned", "failed") and row.number not in kept
            if has_ended and folder.checkpoints.is_dir() and not is_locked(folder.path):
                shutil.rmtree(folder.checkpoints, ignore_errors=True)
