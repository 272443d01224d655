"""`kennel study`: recipes by data sets by seeds, trained, judged and compared, whatever interrupts it."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from kennel.cli import options

ON = ("local", "ray")
"""Where the runs of a study train."""


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
        None,
        min=1,
        help="Runs that train at the same time (one for each CUDA device, else one; on Ray, as many as the "
        "cluster has room for).",
        rich_help_panel=options.MACHINE,
    ),
    threads: int | None = typer.Option(
        None,
        min=1,
        help="CPU threads of each run (OMP_NUM_THREADS, else the cores divided by --jobs; on Ray 1).",
        rich_help_panel=options.MACHINE,
    ),
    on: str = typer.Option(
        "local",
        metavar="local|ray",
        help="Train on this machine, or on a Ray cluster.",
        rich_help_panel=options.MACHINE,
    ),
    address: str | None = typer.Option(
        None,
        metavar="auto|HOST:PORT",
        help="The Ray cluster (RAY_ADDRESS, else a Ray of this machine, for this study only).",
        rich_help_panel=options.MACHINE,
    ),
    device: options.Device = "auto",
    weights: options.Weights = None,
    dry_run: bool = typer.Option(False, "--dry-run", help="Show the runs, time and disk; train nothing."),
) -> None:
    """Train a matrix of recipes, data and seeds; judge all by one protocol; write tables and a page.

    Example: kennel study digits --out studies/digits
    """
    from kennel.storage.lock import locked
    from kennel.studies.checks import check_folder, check_judge
    from kennel.studies.config import load_study
    from kennel.studies.expand.config import ExpandConfig

    if name is None:
        _list()
        return
    where = _Where(on, address, device, jobs, threads)
    loaded = load_study(name)
    if isinstance(loaded, ExpandConfig):
        _expand(loaded, out, data or [], where, dry_run, (rows, seeds, images, hours, settings))
        return
    chosen = _changed(loaded, rows, seeds, images, hours, settings)
    place = out or Path("studies") / chosen.name
    runs = _matrix(chosen, place, data or [])
    check_folder(chosen, runs, place)
    check_judge(chosen, runs, weights)
    if dry_run:
        _plan(chosen, runs, where, place)
        return
    from kennel.cli.console import console

    with locked(place, "trained", console.message, "study"):
        _run(chosen, place, runs, where, weights)


@dataclass(frozen=True)
class _Where:
    """Where the runs train: on this machine, or on Ray. Raises `KennelError` for what does not fit."""

    on: str
    address: str | None
    device: str
    jobs: int | None
    threads: int | None

    def __post_init__(self) -> None:
        from kennel.errors import RecipeError
        from kennel.registry import unknown_name

        if self.on not in ON:
            raise unknown_name("place for --on", self.on, ON)
        if self.address is not None and self.on != "ray":
            raise RecipeError("--address is of a Ray cluster: give --on ray with it")

    def judge_device(self) -> Any:
        """The device here; with Ray, `--device` is about the cluster."""
        from kennel.engine.builder import pick_device

        return pick_device("auto" if self.on == "ray" and self.device == "cuda" else self.device)

    @contextmanager
    def launcher(self) -> Iterator[tuple[Any, int]]:
        """Yields the launcher of the runs, and how many it has room for at a time."""
        from kennel.cli.console import console
        from kennel.cli.imports import imported

        if self.on == "local":
            from kennel.studies.local import LocalLauncher, slots_for

            slots = slots_for(self.device, self.jobs)
            yield LocalLauncher(slots, self.threads, tuple(imported)), len(slots)
            return
        from kennel.studies.on_ray import RayLauncher, connected, default_threads, device_on

        threads = self.threads or default_threads()
        with connected(self.address) as ray:
            device = device_on(ray, self.device)
            launcher = RayLauncher(ray, device, threads, self.jobs, tuple(imported), console.message)
            room = launcher.capacity()
            if not room:
                gpu = " and a GPU" if device == "cuda" else ""
                console.message(
                    f"No machine of the cluster has {threads} free CPUs{gpu}: the runs wait for one."
                )
            yield launcher, room


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
    from kennel.cli.study_changes import with_budget
    from kennel.config.base import validated
    from kennel.errors import RecipeError
    from kennel.registry import unknown_name
    from kennel.studies.config import StudyConfig

    content = with_budget(study, seeds, images, hours)
    if rows is not None:
        named = [row.strip() for row in rows.split(",") if row.strip()]
        if not named:
            raise RecipeError(f"--rows names no row: give some of {', '.join(study.recipes)}")
        for row in named:
            if row not in study.recipes:
                raise unknown_name("row", row, list(study.recipes))
        content["recipes"] = {row: content["recipes"][row] for row in named}
    content["settings"] = [*content["settings"], *settings]
    return validated(StudyConfig, content, "study")


def _expand(
    study: Any,
    out: Path | None,
    data: Sequence[str],
    where: _Where,
    dry_run: bool,
    changes: tuple[Any, ...],
) -> None:
    """The study of expanded sets, which is no matrix of recipes."""
    from kennel.cli.study_expand import changed, run_expand

    chosen = changed(study, *changes)
    folder = out or Path("studies") / chosen.name
    run_expand(chosen, folder, _named(data), where, dry_run=dry_run, plan=_plan)


def _named(data: Sequence[str]) -> dict[str, str]:
    """The sets of `--data` by name: NAME of NAME=DATA, else the name of the file or folder."""
    from kennel.errors import RecipeError

    sets: dict[str, str] = {}
    for given in data:
        name, equals, source = given.partition("=")
        if not equals:
            name, source = Path(given).name.partition(".")[0], given
        if name in sets:
            raise RecipeError(f"--data has two sets called {name}: name them, --data ONE={given}")
        sets[name] = source
    return sets


def _matrix(study: Any, out: Path, data: Sequence[str]) -> list[Any]:
    from kennel.cli.console import progress_bar
    from kennel.studies.matrix import matrix

    sets = _named(data)
    with progress_bar("data") as report:
        return matrix(study, out, sets, report)


def _plan(study: Any, runs: list[Any], where: _Where, out: Path) -> None:
    """Shows time and disk; exits with 1 if a row cannot be trained."""
    from kennel.cli.study_tables import print_plan

    device = where.judge_device()
    with where.launcher() as (_, room):
        pass
    if not print_plan(study, runs, max(1, room), device, out):
        raise typer.Exit(1)


def _run(study: Any, out: Path, runs: list[Any], where: _Where, weights: Path | None) -> None:
    """Trains, judges and writes; a stop in between exits with 130 and can be continued."""
    from kennel.cli.compare_runs import progress_bars
    from kennel.cli.console import console
    from kennel.cli.study_tables import live_table
    from kennel.storage.atomic_io import write_text
    from kennel.studies.matrix import write_recipes
    from kennel.studies.report import write_results
    from kennel.studies.results import results
    from kennel.studies.runner import StudyRunner

    place = where.judge_device()
    with where.launcher() as (launcher, _):
        write_text(out / "study.yaml", study.to_yaml())
        write_recipes(runs)
        with live_table() as show:
            runner = StudyRunner(runs, launcher, show, console.message)
            whole = runner.train()
    for state in runner.states:
        if state.failed:
            console.message(f"Failed: {state.run.label}: {state.error}", "red")
    if not whole:
        console.message("Stopped; the same command continues.")
        raise typer.Exit(130)
    with ExitStack() as bars:
        found = results(study, runner.states, device=place, weights=weights, on_progress=progress_bars(bars))
    for file in write_results(study, found, out):
        console.message(f"Written: {file}")
    _tell(found)
    if any(state.failed for state in runner.states):
        raise typer.Exit(1)


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
