"""Where kennel keeps what it can fetch or compute again: weights, downloads, features of reference sets."""

import os
from pathlib import Path

from kennel.errors import KennelError


def cache_folder() -> Path:
    """`$KENNEL_CACHE`, else `$XDG_CACHE_HOME/kennel`, else `~/.cache/kennel`. It may not exist yet.

    Raises `KennelError` where there is no home folder.
    """
    try:
        chosen = os.environ.get("KENNEL_CACHE")
        if chosen:
            return Path(chosen).expanduser()
        shared = os.environ.get("XDG_CACHE_HOME")
        return (Path(shared).expanduser() if shared else Path.home() / ".cache") / "kennel"
    except RuntimeError:  # no HOME, and no entry among the system's users
        raise KennelError(
            "there is no home folder to keep weights and downloads in: set KENNEL_CACHE to a folder"
        ) from None
