"""`kennel tune`: searches the numbers of a recipe by short runs, judged by their validation."""

import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from kennel.cli import options

SEARCH = "Search"
"""A section of the options in the help."""
INTERRUPTED = 128 + signal.SIGINT


def tune(
    first: options.FirstWord = None,
    second: options.SecondWord = None,
    recipe: options.RecipeOption = None,
    data: options.DataOption = None,
    out: Path | None = typer.Option(
        None, help="The search's folder (tuning/RECIPE-DATA); an existing search is continued."
    ),
    trials: int = typer.Option(30, min=1, help="Trials in all, the recipe itself included."),
    images: str | None = typer.Option(
        None,
        rich_help_panel=options.BUDGET,
        help="Budget of each trial in images, such as 50k (a tenth of the recipe's).",
    ),
    hours: float | None = typer.Option(
        None,
        metavar="H",
        rich_help_panel=options.BUDGET,
        help="Budget of each trial in hours; each measures its own speed first.",
    ),
    space: list[str] = typer.Option(
        [],
        metavar="KEY=LOW:HIGH[:log]|KEY=A,B,C",
        rich_help_panel=SEARCH,
        help="Search this number in this range, or among these choices; as often as you like.",
    ),
    only: str | None = typer.Option(
        None,
        metavar="KEYS",
        rich_help_panel=SEARCH,
        help="Of the default space only these: learning_rate, 'discriminator*', ...",
    ),
    seed: int = typer.Option(
        0, min=0, rich_help_panel=SEARCH, help="Seed of the search; that of the runs is --set seed=N."
    ),
    prune: bool = typer.Option(
        True, rich_help_panel=SEARCH, help="Stop trials that are worse than the median of the finished ones."
    ),
    keep: str = typer.Option(
        "best",
        metavar="best|all",
        rich_help_panel=SEARCH,
        help="Keep the checkpoints of the best trial and the recipe's own, or of all.",
    ),
    storage: str | None = typer.Option(
        None,
        metavar="URL",
        rich_help_panel=SEARCH,
        help="A database that several machines share, such as mysql+pymysql://... (trials.db in --out).",
    ),
    dry_run: bool = typer.Option(
        False, "--dry-run", rich_help_panel=SEARCH, help="Show what would be searched; train nothing."
    ),
    settings: options.Settings = [],  # noqa: B006 - typer passes a new list
    device: options.Device = "auto",
    compute: options.Compute = "auto",
    weights: options.Weights = None,
    device_cache: options.DeviceCache = "auto",
) -> None:
    """Search the numbers of a recipe: learning rates, betas, weights of penalties, widths and others.

    Example: kennel tune digits digits --trials 20 --images 20k

    The same command again continues; in a second terminal or on another machine it shares the trials.
    """
    from kennel.cli.console import error_console, progress_bar
    from kennel.cli.recipe_and_data import recipe_and_data
    from kennel.config.compute import preset
    from kennel.data.memory_budget import parse_memory
    from kennel.engine.builder import pick_device
    from kennel.tuning import require_optuna
    from kennel.tuning.plan import parse_keep, resolve_plan

    require_optuna()
    name, source = recipe_and_data("kennel tune", (first, second), recipe, data)
    kept, resident = parse_keep(keep), parse_memory(device_cache)
    try:
        plan = resolve_plan(
            name,
            source,
            out,
            device=pick_device(device),
            settings=[*preset(compute), *settings],
            log=error_console.message,
            bar=progress_bar,
            weights=weights,
            space=space,
            only=only,
            images=images,
            hours=hours,
            seed=seed,
        )
        if dry_run:
            _show_space(plan, trials)
            return
        code = _search(plan, trials, storage, prune, kept, resident)
    except KeyboardInterrupt:
        error_console.message("Stopped; the same command continues.")
        raise typer.Exit(INTERRUPTED) from None
    if code:
        raise typer.Exit(code)


def _show_space(plan: Any, trials: int) -> None:
    """The searched numbers with the recipe's own values, and the budget."""
    from kennel.cli.console import console
    from kennel.evaluation.metrics.base import METRICS
    from kennel.tuning.dimension import value_words

    own = plan.space.own
    rows = [(one.key, value_words(own[one.key]), one.words) for one in plan.space.dimensions]
    _print_table(("setting", "recipe", "searched"), rows)
    console.message(
        f"{trials} trials of {plan.budget_words}, the first with the recipe's own values; score: the best "
        f"{METRICS[plan.metric].label} of {plan.trial.num_ticks} validations."
    )
    console.message(f"Folder: {plan.out}")


def _search(plan: Any, trials: int, storage: str | None, prune: bool, keep: Any, resident: int | None) -> int:
    """Runs the search and prints its outcome; returns the exit code."""
    from kennel.cli.console import console
    from kennel.cli.tune_progress import TuneProgress
    from kennel.tuning.results import find_results, write_results
    from kennel.tuning.search import Search

    written: list[Path] = []

    def write(rows: Sequence[Any]) -> None:
        written[:] = write_results(find_results(plan, search.trials.study, rows))

    with TuneProgress(plan, trials) as progress:
        search = Search(plan, trials, storage, prune, keep, progress, resident, write)
        search.open()
        progress.begin(search.rows())
        whole = search.run()
    found = find_results(plan, search.trials.study, search.rows())
    if not written:
        written = write_results(found)
    _print_outcome(found, written)
    if not whole:
        console.message("Stopped with a checkpoint; the same command continues.")
        return 128 + (progress.stopped_by or signal.SIGINT)
    return 0 if found.best is not None else 1


def _print_outcome(found: Any, written: Sequence[Path]) -> None:
    """The best values next to the recipe's own, the files, and the command that trains the best."""
    import shlex

    from kennel.cli.console import console
    from kennel.reporting.format import figure
    from kennel.tuning.results import comparison_table

    best, own, plan = found.best, found.own, found.plan
    if best is None:
        console.message(f"No trial is finished ({found.counts}).", "yellow")
        return
    table = comparison_table(found)
    places = [table.columns.index(name) for name in ("setting", "recipe", "best", "importance")]
    shown = [[row[place] for place in places] for row in (table.columns, *table.rows)]
    _print_table(shown[0], shown[1:])
    console.message(f"{len(found.rows)} trials: {found.counts}.")
    if best.own:
        console.message(f"No trial was better than the recipe itself ({found.label} {figure(own.score)}).")
    else:
        console.message(
            f"Best: {best.name}. The best of many trials is a little lucky: compare it with the recipe at "
            "other seeds."
        )
    for file in written:
        console.message(f"Written: {file}")
    command = shlex.join(["kennel", "train", str(plan.out / "best.yaml"), str(plan.source)])
    console.message(f"Train it with the recipe's budget: {command}")


def _print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich import box
    from rich.table import Table

    from kennel.cli.console import console

    table = Table(box=box.SIMPLE_HEAD)
    for number, column in enumerate(columns):
        first = number == 0
        table.add_column(column, overflow="fold", no_wrap=first, justify="left" if first else "right")
    for row in rows:
        table.add_row(*row)
    console.print(table)
