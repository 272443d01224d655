"""Downloads of published files into the cache, verified by their published checksums."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kennel.errors import DataError
from kennel.storage import download as downloads
from kennel.storage.download import DownloadError


@dataclass(frozen=True)
class PublishedFile:
    """A file at its official addresses, tried in order. `md5` is None if no checksum is published."""

    name: str
    addresses: tuple[str, ...]
    md5: str | None = None


def verify(path: Path, file: PublishedFile) -> None:
    """Raises `DataError` if `path` does not have the published checksum."""
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
    """The file in `folder`, downloaded if needed. `on_progress(bytes, total bytes)`. Raises `DataError`."""
    destination = folder / file.name
    if destination.is_file():
        verify(destination, file)
        return destination
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"the cache {folder} cannot be created ({(error.strerror or '').lower()}): set KENNEL_CACHE to a "
            "writable folder"
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
        f"{file.name} cannot be downloaded ({'; '.join(problems)}): without a network, copy it into a folder "
        "and give that with --from FOLDER"
    )
