"""A run that is not named is the newest one."""

from pathlib import Path


def or_newest(run: Path | None) -> Path:
    """`run`, or where it is None the newest in `runs/`, with a line on standard error that says which.

    Raises `RunError` where there is none.
    """
    from kennel.cli.console import error_console
    from kennel.runs.newest import RUNS, newest_run

    if run is not None:
        return run
    found = newest_run()
    error_console.print(f"Run: {found}, the newest in {RUNS}/.", soft_wrap=True)
    return found
