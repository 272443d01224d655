"""Released generators: addresses, checksums, and their files in the cache.

A new release changes only `RELEASES`.
"""

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import kennel
from kennel.errors import ReleaseError
from kennel.registry import Registry, unknown_name
from kennel.storage.atomic_io import atomic_file
from kennel.storage.cache import cache_folder
from kennel.storage.download import DownloadError, download
from kennel.storage.hashing import file_sha256

MAX_BYTES = 1 << 30
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_ADDRESS = re.compile(r"(https?|file)://\S+")


@dataclass(frozen=True)
class Release:
    """A generator that `kennel fetch NAME` downloads.

    `address` is None before publication; `file` is its path in kennel's repository, if it is there. `sha256`
    and `size` (bytes) describe the file. `scores` are sentences, each with its extractor and counts.
    """

    name: str
    description: str
    license: str
    address: str | None = None
    file: str | None = None
    sha256: str | None = None
    size: int | None = None
    scores: tuple[str, ...] = ()


RELEASES: Registry[Release] = Registry("released generator")

RELEASES.register("dogs")(
    Release(
        "dogs",
        "dogs of 64x64 pixels, in color: the recipe projected on crops of Stanford Dogs",
        "non-commercial research only: trained on Stanford Dogs, photographs from ImageNet",
        file="models/dogs.safetensors",
        sha256="440c15a98a3525907d15e0493ab9f028b96ce7b107c9e965365e837543a89620",
        size=15_837_628,
        scores=("FID 36.2, recall 0.39 (mobilenet, a sibling of its teacher; 9,298 samples v 9,298 images)",),
    )
)


def released(name: str) -> Release | None:
    return RELEASES[name] if name in RELEASES else None  # noqa: SIM401 - a registry has no `get`


def repository_file(release: Release) -> Path | None:
    """The release's file in a clone of kennel's repository: the current folder, or where kennel lies."""
    if release.file is None:
        return None
    clones = (Path.cwd(), Path(kennel.__file__).parents[2])
    return next((clone / release.file for clone in clones if (clone / release.file).is_file()), None)


@dataclass(frozen=True)
class Fetched:
    """A generator in the cache.

    `verified`: its sha256 was compared with an expected one; `already`: it was in the cache before.
    """

    path: Path
    sha256: str
    verified: bool
    already: bool


def place_of(name: str) -> Path:
    return cache_folder() / "generators" / f"{name}.safetensors"


def is_valid_name(name: str) -> bool:
    """Returns whether a name has only letters, digits, dots and dashes, and at most 64 of them."""
    return _NAME.fullmatch(name) is not None


def fetched_names() -> list[str]:
    found = (file.name.removesuffix(".safetensors") for file in place_of("any").parent.glob("*.safetensors"))
    return sorted(name for name in found if is_valid_name(name))


def fetched_file(name: str) -> Path | None:
    """Returns the file of a fetched generator, or None.

    Raises `ReleaseError` for a release that has not been fetched.
    """
    path = place_of(name)
    if path.is_file():
        return path
    if name in RELEASES:
        raise ReleaseError(f"the generator {name} is not downloaded yet: run `kennel fetch {name}`")
    return None


def fetch(
    name: str,
    check: Callable[[Path, str], object],
    given: str | None = None,
    sha256: str | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Fetched:
    """Downloads or copies a generator into the cache.

    The source is `given`, a file or an address; else the release's file in a clone of kennel's repository;
    else its published address. With `given` any valid name is allowed. The file is kept only if its sha256 is
    the published one (or `sha256`) and `check(file, source)` raises nothing. Raises `ReleaseError`.
    """
    release = released(name)
    if release is None and given is None and name not in fetched_names():
        raise ReleaseError(
            f"{unknown_name('released generator', name, RELEASES)} Give --from FILE or URL for another one"
        )
    if not is_valid_name(name):
        raise ReleaseError(f"'{name}' is not a valid name: use letters, digits, dots and dashes, at most 64")
    wanted = _checksum(name, release, sha256)
    source = given or (_source(release) if release else None)
    path = place_of(name)
    if given is None and path.is_file() and (wanted is None or file_sha256(path) == wanted):
        check(path, str(path))
        return Fetched(path, file_sha256(path), wanted is not None, already=True)
    if source is None:
        raise ReleaseError(
            f"{_whereabouts(name, release)}: give a file that `kennel export` wrote with "
            f"`kennel fetch {name} --from FILE`, or its address with --from URL"
        )
    size = release.size if release is not None and wanted == release.sha256 else None

    def checked(temporary: Path) -> None:
        found = file_sha256(temporary)
        if wanted is not None and found != wanted:
            raise ReleaseError(
                f"{source} is not the generator {name} (sha256 {found[:16]}…, expected {wanted[:16]}…): "
                "download it again, or from another source"
            )
        check(temporary, source)

    if _ADDRESS.fullmatch(source):
        try:
            download(source, path, checked, most=size or MAX_BYTES, on_progress=on_progress)
        except DownloadError as error:
            raise ReleaseError(
                f"the generator {name} cannot be downloaded from {source} ({error}): without a network, get "
                f"the file in another way and give it with `kennel fetch {name} --from FILE`"
            ) from error
    else:
        _copy(_expand_home(source), path, checked)
    return Fetched(path, file_sha256(path), wanted is not None, already=False)


def _checksum(name: str, release: Release | None, given: str | None) -> str | None:
    """Returns the expected sha256, or None."""
    published = release.sha256 if release else None
    if given is None:
        return published
    if not re.fullmatch(r"[0-9a-fA-F]{64}", given):
        raise ReleaseError(f"--sha256 {given[:80]} is not a checksum: give 64 hexadecimal digits")
    if published is not None and given.lower() != published:
        raise ReleaseError(f"--sha256 differs from that of the published {name} ({published}): leave it out")
    return given.lower()


def _source(release: Release) -> str | None:
    local = repository_file(release)
    return release.address if local is None else str(local)


def _whereabouts(name: str, release: Release | None) -> str:
    if release is not None and release.file is not None:
        return f"{name} is {release.file} in kennel's repository, and this is no clone of it"
    return f"{name} is not published yet"


def _expand_home(source: str) -> Path:
    """Expands `~`; an unknown home stays as it is."""
    try:
        return Path(source).expanduser()
    except RuntimeError:
        return Path(source)


def _copy(source: Path, destination: Path, check: Callable[[Path], None]) -> None:
    if not source.is_file():
        raise ReleaseError(f"there is no file {source}: give --from a file, or an address (https://...)")
    if source.stat().st_size > MAX_BYTES:
        raise ReleaseError(f"{source} has more than {MAX_BYTES:,} bytes and is not a generator of kennel")
    with atomic_file(destination) as temporary:
        shutil.copyfile(source, temporary)
        check(temporary)
