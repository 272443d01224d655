"""`kennel report`: a run as one page."""

from pathlib import Path

import typer


def report(
    run: Path = typer.Argument(..., help="A run's folder."),
) -> None:
    """Write a run's report.html and curves.png, as far as the run has come."""
    from kennel.cli.console import console
    from kennel.reporting import write_report
    from kennel.runs.run_dir import RunDir

    folder = RunDir(run)
    written = write_report(folder)
    console.print(f"Report: {written}", soft_wrap=True)
    if folder.curves.is_file():
        console.print(f"Curves: {folder.curves}", soft_wrap=True)
