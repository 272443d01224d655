"""Trials as rows of a table, without Optuna's objects."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

State = Literal["finished", "pruned", "failed", "interrupted", "running", "waiting"]


@dataclass(frozen=True)
class TrialRow:
    """One trial.

    `score` is its best validation score so far, `best_images` the images at that score; None without one.
    `values` are its values by key, `reason` why it failed. `own`: it has the recipe's own values.
    `continues` is the interrupted trial whose run it continues.
    """

    number: int
    state: State
    score: float | None
    best_images: int | None
    images: int | None
    seconds: float | None
    values: Mapping[str, Any]
    reason: str = ""
    own: bool = False
    continues: int | None = None

    @property
    def name(self) -> str:
        return f"trial-{self.number:03d}"


def best_of(rows: Sequence[TrialRow], direction: str) -> TrialRow | None:
    """The finished trial with the best score, the earliest of equal ones; None if none is finished."""
    finished = [(row.score, row) for row in rows if row.state == "finished" and row.score is not None]
    if not finished:
        return None
    pick = max if direction == "maximize" else min
    top = pick(score for score, _ in finished)
    return next(row for score, row in finished if score == top)


def own_of(rows: Sequence[TrialRow]) -> TrialRow | None:
    """The trial with the recipe's own values that is finished; None if there is none."""
    return next((row for row in rows if row.own and row.state == "finished"), None)


def improvements(rows: Sequence[TrialRow], direction: str) -> list[TrialRow]:
    """The finished trials that were the best when they ended, by number."""
    found: list[TrialRow] = []
    for row in sorted(rows, key=lambda one: one.number):
        if row.state == "finished" and row.score is not None:
            sign = -1 if direction == "maximize" else 1
            if not found or sign * row.score < sign * (found[-1].score or 0.0):
                found.append(row)
    return found
