"""Fetching a published file once: checked against its published checksum, then kept in the cache."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kennel.errors import DataError
from kennel.storage import download as downloads
from kennel.storage.download import DownloadError


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
            downloads.download(
                address, destination, lambda temporary: verify(temporary, file), on_progress=on_progress
            )
        except (DataError, DownloadError) as error:
            problems.append(f"{address}: {error}")
        else:
            return destination
    raise DataError(
        f"{file.name} cannot be downloaded ({'; '.join(problems)}): where there is no network, put it into a "
        "folder by other means and give that with --from FOLDER"
    )
