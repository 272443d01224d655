"""What `kennel study` shows: its runs while they train, and before, how long they will take."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SECONDS_EACH = 8.0
"""How long `--dry-run` measures each row on each set."""


@contextmanager
def live_table() -> Iterator[Callable[[Sequence[Any]], None]]:
    """Yields a function that shows the states of all runs: a live table, or without a terminal a line for
    each change."""
    from rich.live import Live

    from kennel.cli.console import console, error_console

    said: dict[str, str] = {}

    def lines(states: Sequence[Any]) -> None:
        for state in states:
            text = f"{state.words} on {state.machine}" if state.trains and state.machine else state.words
            if said.get(state.run.label, "waiting") != text:
                console.message(f"{state.run.label}: {text}")
            said[state.run.label] = text

    if not error_console.is_terminal:
        yield lines
        return
    with Live(console=error_console, refresh_per_second=2, transient=True) as live:
        yield lambda states: live.update(states_table(states))


def states_table(states: Sequence[Any]) -> Any:
    """Every run that trains, has lost its worker or has failed, and how many there are of each kind."""
    from rich import box
    from rich.table import Table

    from kennel.studies.runner import LOCKED, LOST

    table = Table(box=box.SIMPLE_HEAD)
    for column in ("run", "device", "status", "images", "images/s"):
        table.add_column(column, justify="right" if column.startswith("images") else "left")
    counts: dict[str, int] = {}
    for state in states:
        counts[state.words] = counts.get(state.words, 0) + 1
        if not (state.trains or state.failed or state.words in (LOST, LOCKED)):
            continue
        progress = state.run.progress()
        images = "–" if progress is None else f"{progress.images:,} of {progress.total:,}"
        log = state.run.folder.log() if progress is not None else []
        speed = f"{log[-1]['images_per_second']:,.1f}" if log and "images_per_second" in log[-1] else "–"
        device = f"{state.device} of {state.machine}" if state.machine else state.device
        table.add_row(state.run.label, device, state.error or state.words, images, speed)
    table.caption = ", ".join(f"{count} {words}" for words, count in counts.items())
    return table


def print_plan(study: Any, runs: Sequence[Any], places: int, device: Any, out: Path) -> bool:
    """Time and disk of what is left, by a short measurement of each row on each set on `device`.

    `places` is how many runs train at a time. Returns False if a row cannot be trained.
    """
    from rich import box
    from rich.table import Table

    from kennel.cli.console import console, progress_bar
    from kennel.errors import KennelError
    from kennel.planning import forecast
    from kennel.reporting.format import duration

    table = Table(box=box.SIMPLE_HEAD)
    for column in ("set", "row", "runs", "finished", "images each", "time each", "disk each"):
        table.add_column(column, justify="left" if column in ("set", "row") else "right")
    pairs: dict[tuple[str, str], list[Any]] = {}
    for run in runs:
        pairs.setdefault((run.data, run.row), []).append(run)
    seconds_of_all = disk_of_all = 0.0
    unknown, problems = False, []
    with progress_bar("measuring") as report:
        for number, ((data, row), group) in enumerate(pairs.items()):
            report(number, len(pairs))
            left, finished = _left(group)
            try:
                found = forecast(group[0].recipe, group[0].set_path, device=device, seconds=SECONDS_EACH)
            except KennelError as error:
                problems.append(f"{data}/{row}: {error}")
                continue
            seconds = study.hours * 3600 if study.hours is not None else found.training_seconds
            unknown = unknown or seconds is None
            seconds_of_all += (seconds or 0) * left
            disk_of_all += found.disk * (len(group) - finished)
            images = "–" if study.hours is not None else f"{found.images_left:,}"
            time_each = "unknown" if seconds is None else duration(seconds)
            counts = (str(len(group)), str(finished))
            table.add_row(data, row, *counts, images, time_each, _size(found.disk))
    console.message(f"{study.name}: {len(runs)} runs, {places} at a time, into {out}")
    console.print(table)
    for problem in problems:
        console.message(f"Will fail: {problem}", "red")
    least = "at least " if unknown else ""
    seconds = seconds_of_all / min(places, len(runs))
    console.message(
        f"Still to do: {least}{duration(seconds)} of training, without validation and judging, and "
        f"{_size(disk_of_all)} of disk. Nothing was trained."
    )
    return not problems


def _left(group: Sequence[Any]) -> tuple[float, int]:
    """How many whole runs are left of a group, and how many are finished."""
    found = [run.progress() for run in group]
    left = sum(1.0 if one is None else 0.0 if one.finished else 1.0 - one.share for one in found)
    return left, sum(one is not None and one.finished for one in found)


def _size(count: int | float) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.0f} MB"
