"""Finds the newest run in a folder of runs."""

from pathlib import Path

from kennel.errors import RunError
from kennel.runs.run_dir import RunDir

RUNS = Path("runs")
"""The default folder of runs."""


def newest_run(folder: Path = RUNS) -> Path:
    """The run directly in `folder` whose log (or `run.json`, if it has no log yet) was written last.

    Raises `RunError` if there is no run.
    """
    found = []
    if folder.is_dir():
        found = [run for path in folder.iterdir() if path.is_dir() and (run := RunDir(path)).exists()]
    if not found:
        raise RunError(
            f"there is no run in {folder}/: give a run's folder, or train one with `kennel train photos/`"
        )
    return max(found, key=lambda run: (_written(run), run.path.name)).path


def _written(run: RunDir) -> float:
    file = run.log_file if run.log_file.is_file() else run.about_file
    return file.stat().st_mtime
