"""The files of a search: the best recipe, the tables of trials, importances and the history of the best."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial

import kennel
from kennel.comparison.tables import Table
from kennel.evaluation.metrics.base import METRICS
from kennel.reporting.format import duration, figure
from kennel.storage.atomic_io import write_text
from kennel.tuning.dimension import value_words
from kennel.tuning.figures import draw_history, draw_importances
from kennel.tuning.plan import TunePlan
from kennel.tuning.rows import TrialRow, best_of, improvements, own_of

MIN_FINISHED = 5
"""Finished trials that the importances need at least."""
RELIABLE = 5
"""Finished trials per number from which their order can be relied on, roughly."""


@dataclass(frozen=True)
class TuneResults:
    """The state of a search: all its trials, and the importance of each key (empty: not known yet)."""

    plan: TunePlan
    rows: tuple[TrialRow, ...]
    importances: Mapping[str, float]

    @property
    def best(self) -> TrialRow | None:
        """The finished trial with the best score."""
        return best_of(self.rows, self.plan.direction)

    @property
    def own(self) -> TrialRow | None:
        """The finished trial with the recipe's own values."""
        return own_of(self.rows)

    @property
    def label(self) -> str:
        """The metric's name."""
        return METRICS[self.plan.metric].label

    @property
    def counts(self) -> str:
        """How the trials ended, such as "9 finished, 3 pruned"."""
        states = [row.state for row in self.rows]
        return ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))

    @property
    def note(self) -> str:
        """How far the importances can be relied on."""
        finished = sum(row.state == "finished" for row in self.rows)
        numbers = len(self.plan.space.dimensions)
        if not self.importances:
            return f"The importances need {MIN_FINISHED} finished trials of different scores."
        doubt = "" if finished >= RELIABLE * numbers else " With so few trials they are rough."
        return (
            "Importance: of the variance that single numbers explain (fANOVA), the share of each; "
            f"from {finished} finished trials over {numbers} numbers.{doubt}"
        )


def find_results(plan: TunePlan, study: optuna.Study, rows: Sequence[TrialRow]) -> TuneResults:
    """Computes the importances; the trials are `rows`."""
    return TuneResults(plan, tuple(rows), find_importances(plan, study))


def find_importances(plan: TunePlan, study: optuna.Study) -> dict[str, float]:
    """The importance of each key, largest first, in sum 1 (fANOVA: Hutter et al. 2014, section 3).

    It is of the score's logarithm if all scores are positive: otherwise a few diverged trials would decide.
    Pruned trials, which have other budgets, do not count. Empty with too few trials, or equal scores.
    """
    keys = [one.key for one in plan.space.dimensions]
    finished = [
        one
        for one in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
        if set(keys) <= set(one.params)
    ]
    scores = [one.value for one in finished if one.value is not None]
    if len(scores) < MIN_FINISHED or len(set(scores)) < 2:
        return {}

    def target(trial: FrozenTrial) -> float:
        value = float(trial.value or 0.0)
        return math.log(value) if min(scores) > 0 else value

    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    try:
        return optuna.importance.get_param_importances(study, evaluator=evaluator, params=keys, target=target)
    except RuntimeError:  # no tree has any variance
        return {}


def write_results(found: TuneResults) -> list[Path]:
    """Writes `best.yaml`, `trials.csv`, `results.md`, and where known `history.png` and `importance.png`."""
    out = found.plan.out
    written = [out / "trials.csv", out / "results.md"]
    write_text(written[0], _csv(found))
    if found.best is not None:
        write_text(out / "best.yaml", best_yaml(found, found.best))
        written.insert(0, out / "best.yaml")
        draw_history(found.rows, found.plan.direction, found.label, out / "history.png")
        written.append(out / "history.png")
    if found.importances:
        draw_importances(found.importances, found.note, out / "importance.png")
        written.append(out / "importance.png")
    write_text(out / "results.md", _markdown(found))
    return written


def best_yaml(found: TuneResults, best: TrialRow) -> str:
    """The recipe with the best values and its own budget, under comments that say where they are from."""
    plan = found.plan
    budget = plan.recipe.budget
    own_budget = f"{budget.images:,} images" if budget.images else f"{budget.epochs:g} epochs"
    lines = [
        f"{plan.recipe.name} with the values of {best.name}"
        + (", which are its own: no trial was better." if best.own else "."),
        f"{found.label} {figure(best.score)} after {best.best_images or 0:,} images of a trial of "
        f"{plan.budget_words}"
        + (f"; the recipe's own values: {figure(found.own.score)}." if found.own else "."),
        f"The budget here is the recipe's: {own_budget}.",
    ]
    recipe = plan.recipe if best.own else plan.best_recipe(best.values)
    return "".join(f"# {line}\n" for line in lines) + recipe.to_yaml()


def comparison_table(found: TuneResults) -> Table:
    """A row for each number: the recipe's own value, the best one, what was searched, and its importance."""
    plan, best = found.plan, found.best
    own = plan.space.own
    rows = []
    for one in plan.space.dimensions:
        value = None if best is None else best.values.get(one.key)
        share = found.importances.get(one.key)
        rows.append(
            (
                one.key,
                value_words(own[one.key]),
                value_words(value),
                one.words,
                "–" if share is None else f"{share:.0%}",
            )
        )
    scores = (figure(None if row is None else row.score) for row in (found.own, best))
    title = f"{found.label} at {plan.budget_words}"
    return Table(
        "Values", ("setting", "recipe", "best", "searched", "importance"), (*rows, (title, *scores, "", ""))
    )


def trials_table(found: TuneResults) -> Table:
    """A row for each trial."""
    keys = [one.key for one in found.plan.space.dimensions]
    rows = tuple(
        (
            f"{row.name}{' (recipe)' if row.own else ''}",
            _state(row, found.rows),
            figure(row.score),
            figure(row.best_images),
            figure(row.images),
            "–" if row.seconds is None else duration(row.seconds),
            *(value_words(row.values.get(key)) for key in keys),
        )
        for row in found.rows
    )
    columns = ("trial", "state", f"best {found.label}", "at images", "images", "time", *keys)
    best = found.best
    bold = {(place, 2) for place, row in enumerate(found.rows) if best is not None and row is best}
    return Table("Trials", columns, rows, frozenset(bold))


def _state(row: TrialRow, rows: Sequence[TrialRow]) -> str:
    if row.state == "interrupted":
        after = next((one.name for one in rows if one.continues == row.number), None)
        return "interrupted" if after is None else f"interrupted, continued as {after}"
    return f"{row.state}: {row.reason}" if row.reason else row.state


def _csv(found: TuneResults) -> str:
    """All trials with unrounded values."""
    keys = [one.key for one in found.plan.space.dimensions]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = ("trial", "state", "own", "score", "best_images", "images", "seconds", "continues", "reason")
    writer.writerow((*columns, *keys))
    for row in found.rows:
        values: list[Any] = [row.number, row.state, row.own, row.score, row.best_images, row.images]
        values += [row.seconds, row.continues, row.reason, *(row.values.get(key) for key in keys)]
        writer.writerow("" if value is None else value for value in values)
    return text.getvalue()


def _markdown(found: TuneResults) -> str:
    plan, best = found.plan, found.best
    lines = [
        f"# Search: {plan.recipe.name}",
        f"{found.counts}. Score: the best {found.label} of a run's validations, "
        f"{plan.trial.validation.num_samples:,} samples by the {plan.trial.validation.extractor} extractor; "
        f"{METRICS[plan.metric].direction} is better. Each trial has {plan.budget_words} "
        f"and the training seed {plan.trial.seed}.",
    ]
    if best is not None:
        lines.append(
            f"Best: {best.name}, {found.label} {figure(best.score)}. The score of the best of many trials is "
            "optimistic: compare it with the recipe at other seeds before you rely on it."
        )
    lines.append(comparison_table(found).to_markdown().strip())
    lines.append(found.note + ("\n\n![importance](importance.png)" if found.importances else ""))
    if best is not None:
        steps = improvements(found.rows, plan.direction)
        history = tuple((row.name, figure(row.score), figure(row.best_images)) for row in steps)
        table = Table("History of the best", ("trial", found.label, "at images"), history)
        lines += [table.to_markdown().strip(), "![history](history.png)"]
    lines.append(trials_table(found).to_markdown().strip())
    lines.append(f"Written by kennel {kennel.__version__}.")
    return "\n\n".join(lines) + "\n"
