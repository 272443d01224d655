"""The console of all commands, error messages, and the progress bar."""

import errno
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from kennel.storage.untrusted import printable


class SafeConsole(Console):
    """A console that escapes control characters and survives a closed pipe or a full disk.

    Markup is off: paths and class names may contain brackets. After a failed write it stays silent, so
    that `kennel train ... | head` does not end a run.
    """

    write_error: OSError | None = None
    """The error of a failed write to standard output, other than a closed pipe."""

    def message(self, text: str, style: str = "") -> None:
        """Prints one paragraph; long lines are not wrapped."""
        self.print(text, style=style, soft_wrap=True)

    def render_str(self, text: str, *args: Any, **settings: Any) -> Text:
        """Escapes control characters; rich renders all text, tables included, through this method."""
        return super().render_str(printable(text, "\n\t"), *args, **settings)

    def _check_buffer(self) -> None:
        try:
            super()._check_buffer()
        except OSError as error:
            self._buffer.clear()
            self.on_broken_pipe()
            self.write_error = None if self.stderr else error

    def on_broken_pipe(self) -> None:
        """Discards all further output, including what Python flushes when it closes the stream."""
        self.quiet = True
        null = os.open(os.devnull, os.O_WRONLY)
        with suppress(OSError, ValueError):  # the stream may have no descriptor
            os.dup2(null, self.file.fileno())
        os.close(null)


console = SafeConsole(highlight=False, markup=False)
error_console = SafeConsole(stderr=True, highlight=False, markup=False)


def be_silent() -> None:
    """Makes this process print nothing but errors from now on."""
    console.quiet = error_console.quiet = True


def error_sentence(error: Exception) -> str:
    """Returns the message of an error for the user."""
    if not isinstance(error, OSError) or not error.strerror:
        return str(error)
    place = f"{error.filename} cannot be read or written: " if error.filename else ""
    remedy = "; free some space and run the same command again" if error.errno == errno.ENOSPC else ""
    return f"{place}{error.strerror.lower()}{remedy}"


def report_error(error: Exception) -> None:
    """Prints one sentence on standard error, without a traceback."""
    error_console.quiet = False  # a silent rank reports an error only if no other rank can
    error_console.print("Error:", style="bold red", end=" ")
    error_console.message(error_sentence(error))


def print_list(headings: tuple[str, str], rows: Iterable[tuple[str, str]], *, lines: bool = False) -> None:
    """Prints a table of names and descriptions; with `lines` between the rows."""
    table = Table(show_lines=True) if lines else Table(box=None, pad_edge=False)
    table.add_column(headings[0], no_wrap=True, style="bold" if lines else "")
    table.add_column(headings[1], overflow="fold")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def print_warnings(judgements: Any) -> None:
    """Prints the warnings about judgements, each once."""
    from kennel.evaluation.score import warnings_about

    for warning in dict.fromkeys(text for one in judgements for text in warnings_about(one)):
        console.message(f"Warning: {warning}", style="yellow")


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """Yields `report(done, total)`, which draws a bar with a count and the time left."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(
        *columns, console=error_console, transient=True, disable=not error_console.is_terminal
    ) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
