"""The cache: weights, downloads, features of reference sets."""

import os
from pathlib import Path

from kennel.errors import KennelError


def cache_folder() -> Path:
    """`$KENNEL_CACHE`, else `$XDG_CACHE_HOME/kennel`, else `~/.cache/kennel`. It may not exist yet.

    Raises `KennelError` if there is no home folder.
    """
    try:
        chosen = os.environ.get("KENNEL_CACHE")
        if chosen:
            return Path(chosen).expanduser()
        shared = os.environ.get("XDG_CACHE_HOME")
        return (Path(shared).expanduser() if shared else Path.home() / ".cache") / "kennel"
    except RuntimeError:  # no HOME, and no entry in the user database
        raise KennelError(
            "there is no home folder for weights and downloads: set KENNEL_CACHE to a folder"
        ) from None
