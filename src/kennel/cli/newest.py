"""The default run of a command: the newest one in `runs/`."""

from pathlib import Path


def or_newest(run: Path | None) -> Path:
    """Returns `run`, or the newest run in `runs/` if it is None, with a note on standard error.

    Raises `RunError` if there is no run.
    """
    from kennel.cli.console import error_console
    from kennel.runs.newest import RUNS, newest_run

    if run is not None:
        return run
    found = newest_run()
    error_console.message(f"Run: {found}, the newest in {RUNS}/.")
    return found
