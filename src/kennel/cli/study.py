"""`kennel study`: recipes by data sets by seeds, trained, judged and compared, whatever interrupts it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import typer

from kennel.cli import options

SECONDS_EACH = 8.0
"""How long `--dry-run` measures each row on each set."""


def study(
    name: str | None = typer.Argument(
        None,
        metavar="NAME|FILE",
        show_default=False,
        help="A built-in study or a .yaml file. Without it: a list.",
    ),
    data: list[str] | None = typer.Option(
        None,
        metavar="[NAME=]DATA",
        help="A prepared set, folder, archive or known set in place of the study's; as often as you like.",
    ),
    out: Path | None = typer.Option(
        None, help="The study's folder (studies/NAME); given again, it continues."
    ),
    seeds: int | None = typer.Option(None, min=1, help="This many seeds, from 0 on."),
    images: options.Images = None,
    hours: options.Hours = None,
    settings: options.Settings = [],  # noqa: B006 - typer makes a new list of it
    rows: str | None = typer.Option(None, help="Comma-separated rows of the study (all)."),
    jobs: int | None = typer.Option(
        None, min=1, help="Runs that train at the same time (one for each CUDA device, else one)."
    ),
    device: options.Device = "auto",
    weights: options.Weights = None,
    dry_run: bool = typer.Option(False, "--dry-run", help="Show the runs, time and disk; train nothing."),
) -> None:
    """Train a matrix of recipes, data and seeds; judge all by one protocol; write tables and a page.

    Example: kennel study digits --out studies/digits
    """
    from kennel.engine.builder import pick_device
    from kennel.storage.lock import locked
    from kennel.studies.config import load_study
    from kennel.studies.expand.config import ExpandConfig
    from kennel.studies.runner import slots_for

    if name is None:
        _list()
        return
    loaded = load_study(name)
    slots = slots_for(device, jobs)
    if isinstance(loaded, ExpandConfig):
        _expand(
            loaded,
            out,
            data or [],
            slots,
            pick_device(device),
            dry_run,
            (rows, seeds, images, hours, settings),
        )
        return
    chosen = _changed(loaded, rows, seeds, images, hours, settings)
    place = out or Path("studies") / chosen.name
    runs = _matrix(chosen, place, data or [])
    if dry_run:
        _plan(chosen, runs, slots)
        return
    from kennel.cli.console import console

    with locked(place, "trained", console.message, "study"):
        _run(chosen, place, runs, slots, pick_device(device), weights)


def _list() -> None:
    """The built-in studies with their first line."""
    from rich import box
    from rich.table import Table

    import kennel.studies.builtin  # noqa: F401 (registers them)
    from kennel.cli.console import console
    from kennel.studies.config import STUDIES

    table = Table(box=box.SIMPLE_HEAD)
    for column in ("study", "runs", "what it compares"):
        table.add_column(column, overflow="fold")
    for name in STUDIES:
        one = STUDIES[name]()
        table.add_row(name, str(one.run_count), (STUDIES[name].__doc__ or "").partition("\n")[0])
    console.print(table)


def _changed(
    study: Any,
    rows: str | None,
    seeds: int | None,
    images: str | None,
    hours: float | None,
    settings: list[str],
) -> Any:
    """The study with what the command line changes."""
    from kennel.config.base import validated
    from kennel.errors import RecipeError
    from kennel.registry import unknown_name
    from kennel.studies.config import StudyConfig

    if images is not None and hours is not None:
        raise RecipeError("--images and --hours are ways to say how long: give one of them")
    content = study.model_dump(mode="json")
    if rows is not None:
        named = [row.strip() for row in rows.split(",") if row.strip()]
        for row in named:
            if row not in study.recipes:
                raise unknown_name("row", row, list(study.recipes))
        content["recipes"] = {row: content["recipes"][row] for row in named}
    if seeds is not None:
        content["seeds"] = seeds
    if images is not None or hours is not None:
        content["images"], content["hours"] = images, hours
    content["settings"] = [*content["settings"], *settings]
    return validated(StudyConfig, content, "study")


def _expand(
    study: Any,
    out: Path | None,
    data: Sequence[str],
    slots: Sequence[str],
    place: Any,
    dry_run: bool,
    changes: tuple[Any, ...],
) -> None:
    """The study of expanded sets, which is no matrix of recipes."""
    from kennel.cli.study_expand import changed, run_expand

    chosen = changed(study, *changes)
    folder = out or Path("studies") / chosen.name
    run_expand(chosen, folder, _named(data), slots, place, _live_table, dry_run=dry_run, plan=_plan)


def _named(data: Sequence[str]) -> dict[str, str]:
    """The sets of `--data` by name: NAME of NAME=DATA, else the name of the file or folder."""
    sets = {}
    for given in data:
        name, equals, source = given.partition("=")
        sets[name if equals else Path(given).name.partition(".")[0]] = source if equals else given
    return sets


def _matrix(study: Any, out: Path, data: Sequence[str]) -> list[Any]:
    from kennel.cli.console import progress_bar
    from kennel.studies.matrix import matrix

    sets = _named(data)
    with progress_bar("data") as report:
        return matrix(study, out, sets, report)


def _run(study: Any, out: Path, runs: list[Any], slots: list[str], place: Any, weights: Path | None) -> None:
    """Trains, judges and writes; a stop in between exits with 130 and can be continued."""
    from kennel.cli.console import console
    from kennel.storage.atomic_io import write_text
    from kennel.studies.matrix import write_recipes
    from kennel.studies.report import write_results
    from kennel.studies.results import results
    from kennel.studies.runner import StudyRunner

    write_text(out / "study.yaml", study.to_yaml())
    write_recipes(runs)
    with _live_table() as show:
        runner = StudyRunner(runs, slots, study.hours, show)
        whole = runner.train()
    for state in runner.states:
        if state.failed:
            console.message(f"Failed: {state.run.label}: {state.error}", "red")
    if not whole:
        console.message("Stopped; the same command continues.")
        raise typer.Exit(130)
    with ExitStack() as bars:
        found = results(study, runner.states, device=place, weights=weights, on_progress=_bars(bars))
    for file in write_results(study, found, out):
        console.message(f"Written: {file}")
    _tell(found)
    if any(state.failed for state in runner.states):
        raise typer.Exit(1)


def _bars(stack: ExitStack) -> Callable[[str], Callable[[int, int], None]]:
    from kennel.cli.console import progress_bar

    def begin(label: str) -> Callable[[int, int], None]:
        stack.close()
        return stack.enter_context(progress_bar(label))

    return begin


def _tell(found: Sequence[Any]) -> None:
    """The first table of each data set."""
    from kennel.cli.compare_runs import print_table
    from kennel.cli.console import console

    for one in found:
        if one.comparison is not None:
            console.print(f"Data: {one.data}", style="bold")
            print_table(one.comparison.tables()[0])
        for note in one.notes:
            console.message(f"Note: {note}", "yellow")


@contextmanager
def _live_table() -> Iterator[Callable[[Sequence[Any]], None]]:
    """Yields a function that shows the states of all runs: a live table, or without a terminal a line for
    each change."""
    from rich.live import Live

    from kennel.cli.console import console, error_console

    said: dict[str, str] = {}

    def lines(states: Sequence[Any]) -> None:
        for state in states:
            if said.get(state.run.label, "waiting") != state.words:
                console.message(f"{state.run.label}: {state.words}")
            said[state.run.label] = state.words

    if not error_console.is_terminal:
        yield lines
        return
    with Live(console=error_console, refresh_per_second=2, transient=True) as live:
        yield lambda states: live.update(_states_table(states))


def _states_table(states: Sequence[Any]) -> Any:
    """Every run that trains or has failed, and how many wait or are finished."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for column in ("run", "device", "status", "images", "images/s"):
        table.add_column(column, justify="right" if column.startswith("images") else "left")
    counts: dict[str, int] = {}
    for state in states:
        counts[state.words] = counts.get(state.words, 0) + 1
        if state.words not in ("training", "failed"):
            continue
        progress = state.run.progress()
        images = "–" if progress is None else f"{progress.images:,} of {progress.total:,}"
        log = state.run.folder.log() if progress is not None else []
        speed = f"{log[-1]['images_per_second']:,.1f}" if log and "images_per_second" in log[-1] else "–"
        table.add_row(state.run.label, state.device, state.error or state.words, images, speed)
    table.caption = ", ".join(f"{count} {words}" for words, count in counts.items())
    return table


def _plan(study: Any, runs: Sequence[Any], slots: Sequence[str]) -> None:
    """Time and disk of every run, by a short measurement of each row on each set."""
    from rich import box
    from rich.table import Table

    from kennel.cli.console import console, progress_bar
    from kennel.engine.builder import pick_device
    from kennel.errors import KennelError
    from kennel.planning import forecast
    from kennel.reporting.format import duration

    table = Table(title=f"{study.name}: {len(runs)} runs, {len(slots)} at a time", title_justify="left")
    table.box = box.SIMPLE_HEAD
    for column in ("set", "row", "runs", "images", "time each", "disk each"):
        table.add_column(column, justify="left" if column in ("set", "row") else "right")
    pairs: dict[tuple[str, str], list[Any]] = {}
    for run in runs:
        pairs.setdefault((run.data, run.row), []).append(run)
    seconds_of_all = disk_of_all = 0.0
    unknown, problems, place = False, [], pick_device(slots[0])
    with progress_bar("measuring") as report:
        for number, ((data, row), group) in enumerate(pairs.items()):
            report(number, len(pairs))
            try:
                found = forecast(group[0].recipe, group[0].set_path, device=place, seconds=SECONDS_EACH)
            except KennelError as error:
                problems.append(f"{data}/{row}: {error}")
                continue
            seconds = study.hours * 3600 if study.hours is not None else found.training_seconds
            unknown = unknown or seconds is None
            seconds_of_all += (seconds or 0) * len(group)
            disk_of_all += found.disk * len(group)
            images = "–" if study.hours is not None else f"{found.images_left:,}"
            time_each = "unknown" if seconds is None else duration(seconds)
            table.add_row(data, row, str(len(group)), images, time_each, f"{found.disk / 1e6:,.0f} MB")
    console.print(table)
    for problem in problems:
        console.message(f"Will fail: {problem}", "red")
    least = "at least " if unknown else ""
    console.message(
        f"Together {least}{duration(seconds_of_all / len(slots))} of training, without validation and "
        f"judging, and {disk_of_all / 1e9:,.1f} GB.",
    )
