"""`kennel compare RUN RUN ...`: what `kennel compare` does when it is given several runs."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from kennel.errors import RunError

PAGE = Path("comparison.html")
"""What the hint names where no file was asked for."""
MAX_ROWS = 24
"""Rows of a table in the terminal."""


def are_runs(words: Sequence[str]) -> bool:
    """Whether the words name several runs, and not a run and its checkpoints.

    Raises `RunError` where some do and one does not.
    """
    runs = [word for word in words if (Path(word) / "recipe.yaml").is_file()]
    others = [word for word in words if word not in runs]
    if others and (len(runs) > 1 or (runs and Path(others[0]).is_dir())):
        raise RunError(
            f"{others[0]} is not a run (it has no recipe.yaml): give folders of runs, or one run and its "
            "checkpoints"
        )
    return len(words) > 1 and not others


def compare_runs_command(
    words: Sequence[str],
    outs: Sequence[Path],
    *,
    checkpoint: str,
    shown: int,
    seed: int,
    truncation: float | None,
    device: Any,
    judge: Any,
) -> None:
    """Compares the runs, prints the tables, and writes the files that are asked for.

    `judge` are the `JudgeOptions` by which all are judged; None takes stored scores.
    """
    from kennel.cli.checks import refuse_unwritable
    from kennel.cli.console import console
    from kennel.comparison.result import compare_runs, refuse_other_formats, write_comparison

    for file in outs:
        refuse_unwritable(file, "--out")
    refuse_other_formats(outs)
    with ExitStack() as bars:
        found = compare_runs(
            [Path(word) for word in words],
            checkpoint=checkpoint,
            shown=shown,
            seed=seed,
            truncation=truncation,
            device=device,
            judge=judge,
            on_progress=progress_bars(bars),
        )
    for table in found.tables():
        print_table(table)
    for note in found.notes:
        console.message(f"Note: {note}", "yellow")
    for file in outs:
        write_comparison(found, file)
        console.message(f"Written: {file}")
    if not outs:
        console.message(f"Samples and curves as a page: --out {PAGE}")


def progress_bars(stack: ExitStack) -> Callable[[str], Callable[[int, int], None]]:
    """Begins a progress bar for each pass; the one before it goes."""
    from kennel.cli.console import progress_bar

    def begin(label: str) -> Callable[[int, int], None]:
        stack.close()
        return stack.enter_context(progress_bar(label))

    return begin


def print_table(table: Any) -> None:
    """A table in the terminal, best values in bold, its notes below."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from kennel.cli.console import console

    shown = Table(title=table.title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    for number, column in enumerate(table.columns):
        shown.add_column(column, justify="left" if number == 0 else "right", overflow="fold")
    for number, row in enumerate(table.rows[:MAX_ROWS]):
        cells = [
            Text(cell, "bold" if (number, place) in table.bold else "") for place, cell in enumerate(row)
        ]
        shown.add_row(*cells)
    console.print(shown)
    if len(table.rows) > MAX_ROWS:
        console.message(f"... and {len(table.rows) - MAX_ROWS} more rows: --out {PAGE} has all of them.")
    for note in table.notes:
        console.message(note)
