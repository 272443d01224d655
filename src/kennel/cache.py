"""Where kennel keeps what it can fetch or compute again: weights, downloads, features of reference sets."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """`$KENNEL_CACHE`, else `$XDG_CACHE_HOME/kennel`, else `~/.cache/kennel`. It may not exist yet."""
    chosen = os.environ.get("KENNEL_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared).expanduser() if shared else Path.home() / ".cache") / "kennel"
