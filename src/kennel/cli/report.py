"""`kennel report`: a run as one page."""

from pathlib import Path

import typer

from kennel.cli.newest import or_newest


def report(
    run: Path | None = typer.Argument(None, metavar="RUN", help="A run's folder (the newest in runs/)."),
) -> None:
    """Write a run's report.html and curves.png, as far as the run has come.

    Example: kennel report
    """
    from kennel.cli.console import console
    from kennel.reporting import write_report
    from kennel.runs.run_dir import RunDir

    folder = RunDir(or_newest(run))
    written = write_report(folder)
    console.print(f"Report: {written}", soft_wrap=True)
    if folder.curves.is_file():
        console.print(f"Curves: {folder.curves}", soft_wrap=True)
