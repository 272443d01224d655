"""Atomic, checked downloads."""

import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path

from kennel.errors import KennelError
from kennel.storage.atomic_io import atomic_file

TIMEOUT_SECONDS = 30
"""How long a server may send nothing."""
_CHUNK = 1 << 18


class DownloadError(KennelError):
    """Why a download failed, without the address."""


def download(
    address: str,
    destination: Path,
    check: Callable[[Path], None],
    *,
    most: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> None:
    """Downloads `address` to `destination`, which appears only when complete and checked.

    `check(temporary file)` raises if the content is wrong; more than `most` bytes are refused. Progress is
    (bytes, total bytes). Proxies come from the environment (`https_proxy`, `no_proxy`). Downloads are not
    resumed. Raises `DownloadError`, and what `check` raises.
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
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer, destination.open("wb") as stream:
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
