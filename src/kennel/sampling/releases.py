"""Generators that are released: where each is published, by which checksum, and where it lies once fetched.

The addresses and checksums of `RELEASES` are all that a new release changes.
"""

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kennel.errors import ReleaseError
from kennel.registry import Registry, unknown_name
from kennel.storage.atomic_io import atomic_file
from kennel.storage.cache import cache_folder
from kennel.storage.download import DownloadError, download
from kennel.storage.hashing import file_sha256

MOST_BYTES = 1 << 30
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_ADDRESS = re.compile(r"(https?|file)://\S+")


@dataclass(frozen=True)
class Release:
    """A generator that `kennel fetch NAME` downloads.

    `address` is None as long as nothing is published; else `sha256` and `size` (bytes) are those of the file
    there. `scores` are sentences, each with its extractor and counts.
    """

    name: str
    description: str
    license: str
    address: str | None = None
    sha256: str | None = None
    size: int | None = None
    scores: tuple[str, ...] = ()


RELEASES: Registry[Release] = Registry("released generator")

RELEASES.register("dogs")(
    Release(
        "dogs",
        "dogs of 64x64 pixels, in color: the recipe projected on crops of Stanford Dogs",
        "non-commercial research only: learned from Stanford Dogs, photographs of ImageNet",
    )
)


def released(name: str) -> Release | None:
    """The release of this name; None where there is none."""
    if name not in RELEASES:
        return None
    return RELEASES[name]


@dataclass(frozen=True)
class Fetched:
    """Where a generator lies, its sha256, whether that was expected, and whether it lay there before."""

    path: Path
    sha256: str
    vouched: bool
    already: bool


def place_of(name: str) -> Path:
    """Where the generator of this name lies once it is fetched."""
    return cache_folder() / "generators" / f"{name}.safetensors"


def may_be_named(name: str) -> bool:
    """Whether a generator may be called so: letters, digits, dots, dashes, and no path."""
    return _NAME.fullmatch(name) is not None


def names_at_hand() -> list[str]:
    """The names of all generators that are fetched, in order."""
    found = (file.name.removesuffix(".safetensors") for file in place_of("any").parent.glob("*.safetensors"))
    return sorted(name for name in found if may_be_named(name))


def at_hand(name: str) -> Path | None:
    """The fetched generator of this name, None where there is none.

    Raises `ReleaseError` where it is a release that has not been fetched.
    """
    path = place_of(name)
    if path.is_file():
        return path
    if name in RELEASES:
        raise ReleaseError(f"the generator {name} is not fetched yet: `kennel fetch {name}` does it")
    return None


def fetch(
    name: str,
    check: Callable[[Path, str], None],
    given: str | None = None,
    sha256: str | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Fetched:
    """Brings a generator into the cache: from its published address, or from `given`, a file or an address.

    It gets its name only when its sha256 is the published one (or `sha256`), and `check(file, source)` has
    found nothing against it. With `given` the name may be one of your own; without it, one that was fetched
    so is found again. Raises `ReleaseError`.
    """
    release = released(name)
    if release is None and given is None and name not in names_at_hand():
        raise ReleaseError(
            f"{unknown_name('released generator', name, RELEASES)} Another one comes by --from FILE or URL"
        )
    if not may_be_named(name):
        raise ReleaseError(f"'{name}' is no name: take letters, digits, dots and dashes, 64 at most")
    wanted = _checksum(name, release, sha256)
    source = given or (release.address if release else None)
    path = place_of(name)
    if given is None and path.is_file() and (wanted is None or file_sha256(path) == wanted):
        check(path, str(path))
        return Fetched(path, file_sha256(path), wanted is not None, already=True)
    if source is None:
        raise ReleaseError(
            f"no release of {name} is published yet: give a file that `kennel export` wrote with "
            f"`kennel fetch {name} --from FILE`, or its address with --from URL"
        )
    size = release.size if release is not None and wanted == release.sha256 else None

    def checked(temporary: Path) -> None:
        found = file_sha256(temporary)
        if wanted is not None and found != wanted:
            raise ReleaseError(
                f"{source} is not the generator {name} (sha256 {found[:16]}…, expected {wanted[:16]}…): "
                "get it again, or from another place"
            )
        check(temporary, source)

    if _ADDRESS.fullmatch(source):
        try:
            download(source, path, checked, most=size or MOST_BYTES, on_progress=on_progress)
        except DownloadError as error:
            raise ReleaseError(
                f"the generator {name} cannot be downloaded from {source} ({error}): where there is no "
                f"network, get the file by other means and give it with `kennel fetch {name} --from FILE`"
            ) from error
    else:
        _copy(_without_tilde(source), path, checked)
    return Fetched(path, file_sha256(path), wanted is not None, already=False)


def _checksum(name: str, release: Release | None, given: str | None) -> str | None:
    """The sha256 that the file must have; None where nothing is known."""
    published = release.sha256 if release else None
    if given is None:
        return published
    if not re.fullmatch(r"[0-9a-fA-F]{64}", given):
        raise ReleaseError(f"--sha256 {given[:80]} is no checksum: give 64 hexadecimal digits")
    if published is not None and given.lower() != published:
        raise ReleaseError(f"--sha256 is not that of the published {name} ({published}): leave it out")
    return given.lower()


def _without_tilde(source: str) -> Path:
    """The file with the home folder written out; a home that is not known stays as it was written."""
    try:
        return Path(source).expanduser()
    except RuntimeError:
        return Path(source)


def _copy(source: Path, destination: Path, check: Callable[[Path], None]) -> None:
    if not source.is_file():
        raise ReleaseError(f"there is no file {source}: give --from a file, or an address (https://...)")
    if source.stat().st_size > MOST_BYTES:
        raise ReleaseError(f"{source} has more than {MOST_BYTES:,} bytes, and is no generator of kennel")
    with atomic_file(destination) as temporary:
        shutil.copyfile(source, temporary)
        check(temporary)
