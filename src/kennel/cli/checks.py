"""Refusals of places where a command could not write, before it begins its work."""

import os
from pathlib import Path

from kennel.errors import DataError


def refuse_unwritable(file: Path, option: str) -> None:
    """Raises `DataError` where `file` is a folder or lies where nothing can be written; `option` mends it."""
    if file.is_dir():
        raise DataError(f"{file} is a folder: give {option} a file")
    folder = next(place for place in file.absolute().parents if place.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise DataError(
            f"{file} cannot be written into {folder}: give {option} a place that can be written to"
        )
