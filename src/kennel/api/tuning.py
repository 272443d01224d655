"""`tune`: the search over a recipe's numbers, and its result."""

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from kennel.api.functions import Settings, image_size, no_bar, recipe_settings
from kennel.api.images import Data, PathLike, device_of, path_of
from kennel.api.run import Run
from kennel.comparison.tables import Table
from kennel.config.recipe import Recipe
from kennel.data.memory_budget import parse_memory
from kennel.engine.builder import pick_device
from kennel.errors import TuningError
from kennel.reporting.format import figure
from kennel.tuning import require_optuna
from kennel.tuning.dimension import value_words
from kennel.tuning.plan import DEFAULT_TRIALS, parse_keep, resolve_plan
from kennel.tuning.rows import TrialRow

Space = Mapping[str, tuple[float, float] | tuple[float, float, str] | Sequence[Any]] | Sequence[str]
"""`{"batch_size": [16, 32], "generator_optimizer.learning_rate": (1e-5, 1e-3, "log")}`, or the words of
`--space`. A tuple is a range, a list has choices."""


class Tuning:
    """The result of `tune`; printed as a table of the best values next to the recipe's own.

    Attributes: `path`, the search's folder; `finished`, whether it has all its trials; `trials`, a `TrialRow`
    (`number`, `state`, `score`, `values`, `reason` and others) for each; `best` and `own`, the finished
    trials with the best score and with the recipe's values, None if there is none; `metric`; `importances` of
    the keys, in sum 1, empty with few trials; `table` and `trials_table`, with `to_markdown()`, `to_csv()`.
    """

    def __init__(self, found: Any, device: torch.device, *, finished: bool) -> None:
        """`found` are the `TuneResults`."""
        from kennel.tuning.results import comparison_table, trials_table

        self._plan, self._device = found.plan, device
        self.path: Path = found.plan.out
        self.finished = finished
        self.metric: str = found.plan.metric
        self.trials: tuple[TrialRow, ...] = found.rows
        self.best: TrialRow | None = found.best
        self.own: TrialRow | None = found.own
        self.importances: dict[str, float] = dict(found.importances)
        self.table: Table = comparison_table(found)
        self.trials_table: Table = trials_table(found)
        self.note: str = found.note

    @property
    def best_score(self) -> float:
        """The best validation score. Raises `TuningError` if no trial is finished."""
        score = self._best.score
        assert score is not None
        return score

    @property
    def best_recipe(self) -> Recipe:
        """The recipe with the best values and its own budget. Raises `TuningError` if no trial ended."""
        best = self._best
        recipe: Recipe = self._plan.recipe if best.own else self._plan.best_recipe(best.values)
        return recipe

    @property
    def best_run(self) -> Run:
        """The run of the best trial, with a trial's budget. Raises `TuningError` or, if it lies on another
        machine, `RunError`."""
        return Run(self._plan.run_dir(self._best.number).path, self._device)

    @property
    def _best(self) -> TrialRow:
        if self.best is None:
            reasons = [row.reason for row in self.trials if row.reason]
            because = f"; the last one failed: {reasons[-1]}" if reasons else ""
            raise TuningError(f"no trial of the search in {self.path} is finished{because}")
        return self.best

    def __repr__(self) -> str:
        rows = [self.table.columns, *self.table.rows]
        widths = [max(len(row[column]) for row in rows) for column in range(len(self.table.columns))]
        lines = [
            "  ".join(
                [row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))]
            )
            for row in rows
        ]
        return "\n".join([*(line.rstrip() for line in lines), self.note])

    def _repr_html_(self) -> str:
        parts = [_html(self.table), f"<p>{html.escape(self.note)}</p>", _html(self.trials_table)]
        return "".join(parts)


def _html(table: Table) -> str:
    def row(tag: str, cells: Sequence[str], bold: Sequence[int] = ()) -> str:
        texts = (
            f"<b>{html.escape(cell)}</b>" if place in bold else html.escape(cell)
            for place, cell in enumerate(cells)
        )
        return "<tr>" + "".join(f"<{tag}>{text}</{tag}>" for text in texts) + "</tr>"

    bold = [[column for line, column in table.bold if line == number] for number in range(len(table.rows))]
    body = "".join(row("td", cells, bold[number]) for number, cells in enumerate(table.rows))
    return f"<table>{row('th', table.columns)}{body}</table>"


def tune(
    recipe: PathLike | Recipe,
    data: Data,
    out: PathLike | None = None,
    *,
    trials: int = DEFAULT_TRIALS,
    images: int | str | None = None,
    hours: float | None = None,
    space: Space = (),
    only: str | Sequence[str] | None = None,
    settings: Settings = (),
    seed: int = 0,
    prune: bool = True,
    keep: str = "best",
    storage: str | None = None,
    device: str | torch.device = "auto",
    compute: str = "auto",
    weights: PathLike | None = None,
    resident: str = "auto",
    quiet: bool = False,
) -> Tuning:
    """Searches the numbers of a recipe with Optuna; the same call again continues.

    `recipe` and `data` are those of `train`, `out` is the search's folder, by default `tuning/RECIPE-SET`.
    `trials` are all trials, the first with the recipe's own values. One of `images` and `hours` is the budget
    of each, by default a tenth of the recipe's. `space` changes the default space, of which `only` leaves
    some keys; `settings` change the recipe and are not searched. `seed` is the search's. `prune` stops trials
    worse than the median; `keep` "best" removes the checkpoints of all trials but the best and the recipe's.
    `storage` is a database URL that several machines share. A line is printed for each trial unless `quiet`.
    Ctrl-C returns a result that is not `finished`. Raises `KennelError`, a `TuningError` without Optuna.
    """
    require_optuna()
    from kennel.tuning.results import find_results, write_results
    from kennel.tuning.search import Search, TuneObserver

    if trials < 1:
        raise TuningError(f"trials is {trials}: give a number of at least 1")
    place, changes = pick_device(str(device_of(device))), recipe_settings(settings, None, compute)
    chosen = recipe if isinstance(recipe, Recipe) else str(recipe)
    observer = TuneObserver() if quiet else _printer()
    plan = resolve_plan(
        chosen,
        path_of(data, image_size(chosen, changes)),
        None if out is None else Path(out),
        device=place,
        settings=changes,
        log=observer.log,
        bar=no_bar,
        weights=None if weights is None else Path(weights),
        space=_words(space),
        only=only if only is None or isinstance(only, str) else ",".join(only),
        images=images,
        hours=hours,
        seed=seed,
    )
    search = Search(plan, trials, storage, prune, parse_keep(keep), observer, parse_memory(resident))
    search.open()
    study = search.trials.study
    search.on_change = lambda rows: write_results(find_results(plan, study, rows))
    finished = search.run()
    found = find_results(plan, study, search.rows())
    write_results(found)
    return Tuning(found, place, finished=finished)


def _printer() -> Any:
    """An observer that prints a line for each trial."""
    from kennel.tuning.search import TuneObserver

    class Printer(TuneObserver):
        def on_trial_end(self, row: TrialRow, best: TrialRow | None) -> None:
            score = "" if best is None else f"; best so far {figure(best.score)}"
            reason = f" ({row.reason})" if row.reason else ""
            print(f"{row.name}: {row.state}{reason}, score {figure(row.score)}{score}", flush=True)

    return Printer()


def _words(space: Space) -> list[str]:
    """The space as the words of `--space`. Raises `TuningError` for another form."""
    if isinstance(space, str):
        raise TuningError(f"space is the string '{space}': give a list of them, or a dictionary")
    if not isinstance(space, Mapping):
        return list(space)
    words = []
    for key, given in space.items():
        if isinstance(given, str) or not isinstance(given, Sequence):
            raise TuningError(
                f"space['{key}'] is {given!r}: give (low, high), (low, high, 'log') or a list of choices"
            )
        texts = [value_words(one) if isinstance(one, bool) else str(one) for one in given]
        words.append(f"{key}={(':' if isinstance(given, tuple) else ',').join(texts)}")
    return words
