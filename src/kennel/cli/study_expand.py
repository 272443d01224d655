"""`kennel study` for the study of expanded sets."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import typer


def changed(
    study: Any,
    rows: str | None,
    seeds: int | None,
    images: str | None,
    hours: float | None,
    settings: list[str],
) -> Any:
    """The study with what the command line changes.

    `settings` are of the generator's recipe, and of the study where they begin with "study.", as in
    study.keep=20.
    """
    from kennel.cli.study_changes import with_budget
    from kennel.config.base import validated
    from kennel.config.recipe import parse_value
    from kennel.errors import RecipeError
    from kennel.studies.expand.config import ExpandConfig

    if rows is not None:
        raise RecipeError("--rows is for studies of several recipes, and this one has one: leave it out")
    content = with_budget(study, seeds, images, hours)
    for setting in settings:
        key, equals, value = setting.partition("=")
        if key.startswith("study.") and equals:
            content[key.removeprefix("study.")] = parse_value(value)
        else:
            content["settings"] = [*content["settings"], setting]
    return validated(ExpandConfig, content, "study")


def run_expand(
    study: Any,
    out: Path,
    data: dict[str, str],
    where: Any,
    *,
    dry_run: bool,
    plan: Callable[[Any, list[Any], Any, Path], None],
) -> None:
    """Trains the generators in processes, then expands, trains the classifiers here, and writes the results.

    `where` says where the generators train; `plan` shows the forecast of `--dry-run`. A stop in between exits
    with 130 and can be continued.
    """
    from kennel.cli.console import console, progress_bar
    from kennel.cli.study_tables import live_table
    from kennel.storage.atomic_io import write_text
    from kennel.storage.lock import locked
    from kennel.studies.expand.sets import study_sets
    from kennel.studies.matrix import write_recipes
    from kennel.studies.runner import StudyRunner

    place = where.judge_device()
    with locked(out, "trained", console.message, "study"), progress_bar("data") as report:
        sets = study_sets(study, out, data, place, report)
        write_text(out / "study.yaml", study.to_yaml())
        write_recipes(sets.runs)
    if dry_run:
        plan(study, list(sets.runs), where, out)
        return
    with locked(out, "trained", console.message, "study"):
        with where.launcher() as (launcher, _), live_table() as show:
            runner = StudyRunner(sets.runs, launcher, show, console.message)
            whole = runner.train()
        for state in runner.states:
            if state.failed:
                console.message(f"Failed: {state.run.label}: {state.error}", "red")
        if not whole:
            console.message("Stopped; the same command continues.")
            raise typer.Exit(130)
        ready = [state.run for state in runner.states if not state.failed]
        try:
            failed = _finish(study, sets, ready, out, place)
        except KeyboardInterrupt:
            console.message("Stopped; the same command continues.")
            raise typer.Exit(130) from None
    if failed or len(ready) < len(sets.runs):
        raise typer.Exit(1)


def _finish(study: Any, sets: Any, runs: Sequence[Any], out: Path, place: Any) -> bool:
    """Expands, trains the classifiers and writes the results; returns whether a seed failed."""
    from kennel.cli.compare_runs import print_table, progress_bars
    from kennel.cli.console import console
    from kennel.errors import KennelError
    from kennel.studies.expand.arms import seed_result
    from kennel.studies.expand.report import result_tables, write_results

    found, failed = [], False
    with ExitStack() as bars:
        begin = progress_bars(bars)
        for run in runs:
            try:
                found.append(seed_result(study, sets, run, out, place, begin))
            except KennelError as error:
                failed = True
                console.message(f"Failed: seed {run.seed}: {error}", "red")
    if found:
        for file in write_results(study, sets, found, out):
            console.message(f"Written: {file}")
        for table in result_tables(sets, found):
            print_table(table)
    return failed
