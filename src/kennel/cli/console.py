"""The one console that all commands write to, and the progress bar that they share."""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from kennel.storage.untrusted import printable


class Voice(Console):
    """What commands print to. Brackets in it mean nothing: paths and names of classes have them too.

    Where the reader of a pipe goes, or the disk that it is written to is full, the command falls silent and
    goes on: a run is not lost to `| head`. Control characters that a file brought are shown and not obeyed.
    """

    lost: OSError | None = None
    """Why something that was asked for could not be written."""

    def render_str(self, text: str, *args: Any, **settings: Any) -> Text:
        """The one place through which all text goes, that of tables included."""
        return super().render_str(printable(text, "\n\t"), *args, **settings)

    def _check_buffer(self) -> None:
        try:
            super()._check_buffer()
        except OSError as error:
            self._buffer.clear()
            self.on_broken_pipe()
            self.lost = None if self.stderr else error

    def on_broken_pipe(self) -> None:
        """Nothing more is written, here or when Python closes the stream."""
        self.quiet = True
        nowhere = os.open(os.devnull, os.O_WRONLY)
        with suppress(OSError, ValueError):  # it has no descriptor
            os.dup2(nowhere, self.file.fileno())
        os.close(nowhere)


console = Voice(highlight=False, markup=False)
error_console = Voice(stderr=True, highlight=False, markup=False)


def be_silent() -> None:
    """This process prints and draws nothing more but errors."""
    console.quiet = error_console.quiet = True


def error_sentence(error: Exception) -> str:
    """What the user is told of an error."""
    sentence = str(error)
    if isinstance(error, OSError) and error.strerror:
        place = f"{error.filename} cannot be read or written: " if error.filename else ""
        remedy = "; free some space and run the same command again" if error.errno == errno.ENOSPC else ""
        sentence = f"{place}{error.strerror.lower()}{remedy}"
    return sentence


def report_error(error: Exception) -> None:
    """One sentence on standard error, no traceback."""
    error_console.quiet = False  # a silent rank is asked for it only where no other can tell
    error_console.print("Error:", style="bold red", end=" ")
    error_console.print(error_sentence(error), soft_wrap=True)


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """Yields `report(done, total)`, which draws one bar with a count and the time left."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns, console=error_console, transient=True, disable=not error_console.is_terminal
    ) as progress:
        task = progress.add_task(what, total=None)

        def report(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        yield report
