"""Links from a run's page to the run's files."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from kennel.runs import checkpoint
from kennel.runs.run_dir import RunDir
from kennel.storage.untrusted import leads_out


@dataclass(frozen=True)
class Link:
    """`href` is relative to the page, which lies in the run's folder."""

    words: str
    href: str


def link_to(folder: RunDir, file: Path, words: str = "") -> Link:
    """A link to a file from the run's page."""
    href = Path(os.path.relpath(file, folder.path)).as_posix()
    # "./" keeps a name with a colon from being read as a scheme.
    return Link(words or file.name, quote(href if href.startswith("../") else f"./{href}"))


def link_groups(folder: RunDir, grids: list[Path], about: dict[str, Any]) -> list[tuple[str, list[Link]]]:
    """(what, links) of all files of the run that exist; the data set's description too, if it is there."""
    judgements = [] if leads_out(folder.judgements) else sorted(folder.judgements.glob("*.*"))
    groups = [
        ("Recipe", [folder.recipe_file]),
        ("Data set and versions", [folder.about_file, Path(about["data"]["path"]) / "dataset.json"]),
        ("Checkpoints", [folder.best_checkpoint, *checkpoint.in_folder(folder.checkpoints)]),
        ("Logs", [folder.log_file, folder.spectra_file, folder.alarms_file]),
        ("Figures", [folder.curves, folder.spectra_picture, folder.nearest]),
        ("Grids", grids),
        ("Judgements", [file for file in judgements if file.suffix in (".json", ".png")]),
    ]
    return [
        (what, links)
        for what, files in groups
        if (links := [link_to(folder, file) for file in dict.fromkeys(files) if _is_there(file)])
    ]


def _is_there(file: Path) -> bool:
    try:
        return file.is_file()
    except OSError:  # a path of run.json that is too long, or not readable
        return False
