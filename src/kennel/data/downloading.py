"""Fetching a published file once: checked against its published checksum, then kept in the cache."""

import hashlib
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from kennel.atomic import atomic_file
from kennel.errors import DataError

_CHUNK = 1 << 18
_PATIENCE_SECONDS = 30


@dataclass(frozen=True)
class PublishedFile:
    """A file at its official address."""

    name: str
    addresses: tuple[str, ...]
    """Tried in this order; the checksum says that they hold the same."""
    md5: str | None = None
    """As published; None where none is published that is known for certain."""


def verify(path: Path, file: PublishedFile) -> None:
    """Raises `DataError` where `path` does not have the published checksum."""
    if file.md5 is None:
        return
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if found != file.md5:
        raise DataError(
            f"'{path}' is not the published {file.name} (its md5 is {found}, published is {file.md5}): "
            "it is damaged or another file, remove it and fetch it again"
        )


def download(
    file: PublishedFile, folder: Path, on_progress: Callable[[int, int], None] | None = None
) -> Path:
    """The file in `folder`, downloaded unless it is there already. `on_progress(bytes, all bytes)`.

    It appears under its name only when it is complete and verified. Raises `DataError` with the address and
    the way without a network where it cannot be had.
    """
    destination = folder / file.name
    if destination.is_file():
        verify(destination, file)
        return destination
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"the cache {folder} cannot be made ({(error.strerror or '').lower()}): set KENNEL_CACHE to a "
            "folder that can be written to"
        ) from None
    problems = []
    for address in file.addresses:
        try:
            with atomic_file(destination) as temporary:
                _fetch(address, temporary, on_progress)
                verify(temporary, file)
        except DataError as error:
            problems.append(f"{address}: {error}")
        except (OSError, HTTPException, ValueError) as error:  # URLError and timeouts are OSErrors
            reason = getattr(error, "reason", None) or error
            problems.append(f"{address}: {reason}")
        else:
            return destination
    raise DataError(
        f"{file.name} cannot be downloaded ({'; '.join(problems)}): where there is no network, put it into a "
        "folder by other means and give that with --from FOLDER"
    )


def _fetch(address: str, destination: Path, on_progress: Callable[[int, int], None] | None) -> None:
    request = urllib.request.Request(address, headers={"User-Agent": "kennel"})
    with (
        urllib.request.urlopen(request, timeout=_PATIENCE_SECONDS) as answer,
        destination.open("wb") as stream,
    ):
        expected = int(answer.headers.get("Content-Length") or 0)
        done = 0
        while chunk := answer.read(_CHUNK):
            stream.write(chunk)
            done += len(chunk)
            if on_progress:
                on_progress(done, max(done, expected))
    if expected and done != expected:
        raise DataError(f"the connection ended after {done:,} of {expected:,} bytes")
