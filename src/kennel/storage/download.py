"""A file from an address: written beside its place, checked, and only then given its name."""

import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path

from kennel.errors import KennelError
from kennel.storage.atomic_io import atomic_file

PATIENCE_SECONDS = 30
"""So long a server may be silent."""
_CHUNK = 1 << 18


class DownloadError(KennelError):
    """What kept a file from coming, as a sentence's part that the caller completes."""


def download(
    address: str,
    destination: Path,
    check: Callable[[Path], None],
    *,
    most: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> None:
    """Fetches `address` into `destination`, whole and checked or not at all.

    `check(temporary file)` raises what it has against the content. At most `most` bytes are taken.
    `on_progress(bytes, all bytes)`. The proxies of the environment are used (`https_proxy`, `no_proxy`).
    Nothing is resumed: what was cut off is fetched from its beginning the next time. Raises `DownloadError`
    where the file does not come, and what `check` raises.
    """
    try:
        with atomic_file(destination) as temporary:
            _receive(address, temporary, most, on_progress)
            check(temporary)
    except (OSError, HTTPException, ValueError) as error:  # URLError and timeouts are OSErrors
        reason = getattr(error, "reason", None) or error
        raise DownloadError(str(reason)) from error


def _receive(
    address: str, destination: Path, most: int | None, on_progress: Callable[[int, int], None] | None
) -> None:
    request = urllib.request.Request(address, headers={"User-Agent": "kennel"})
    with (
        urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer,
        destination.open("wb") as stream,
    ):
        expected = int(answer.headers.get("Content-Length") or 0)
        done = 0
        while chunk := answer.read(_CHUNK):
            done += len(chunk)
            if most is not None and max(done, expected) > most:
                raise DownloadError(f"it has more than {most:,} bytes")
            stream.write(chunk)
            if on_progress:
                on_progress(done, max(done, expected))
    if expected and done != expected:
        raise DownloadError(f"the connection ended after {done:,} of {expected:,} bytes")
