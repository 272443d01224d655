"""Checks of output paths before a command starts its work."""

import os
from pathlib import Path

from kennel.errors import DataError


def refuse_unwritable(file: Path | None, option: str) -> None:
    """Raises `DataError` if `file` is a folder or its folder is not writable; None passes.

    The message names `option`, with which the user gives another path.
    """
    if file is None:
        return
    if file.is_dir():
        raise DataError(f"{file} is a folder: give {option} a file")
    folder = next(parent for parent in file.absolute().parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise DataError(f"{file}: {folder} is not writable; give {option} a place that can be written to")
