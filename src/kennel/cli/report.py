"""`kennel report`: a run as one HTML page."""

from kennel.cli import options
from kennel.cli.newest import or_newest


def report(run: options.RunArgument = None) -> None:
    """Write report.html and curves.png of a run, also while it is being trained.

    Example: kennel report
    """
    from kennel.cli.console import console
    from kennel.reporting import write_report
    from kennel.runs.run_dir import RunDir

    folder = RunDir(or_newest(run))
    console.message(f"Report: {write_report(folder)}")
    if folder.curves.is_file():
        console.message(f"Curves: {folder.curves}")
