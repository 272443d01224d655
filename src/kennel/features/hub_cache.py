"""Folders of weights from model repositories: `config.json` and `model.safetensors`, never a pickle."""

import importlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kennel.errors import WeightsError
from kennel.features.weights import weights_folder, weights_places
from kennel.storage.hashing import file_sha256
from kennel.storage.untrusted import UntrustedError, read_json

CONFIG, TENSORS = "config.json", "model.safetensors"


@dataclass(frozen=True)
class Repository:
    """Weights in a model repository.

    `name` as the hub spells it; `revision`, the commit; `sha256` and `size` in bytes of its
    `model.safetensors`; `licence`; `model_type`, what its `config.json` calls the network.
    """

    name: str
    revision: str
    sha256: str
    size: int
    licence: str
    model_type: str

    @property
    def address(self) -> str:
        """Where a person finds the files."""
        return f"https://huggingface.co/{self.name}/tree/{self.revision}"

    @property
    def stored(self) -> str:
        """The folder's name in the cache and in `$KENNEL_WEIGHTS`."""
        return self.name.replace("/", "--")


DINOV2_LARGE = Repository(
    "facebook/dinov2-large",
    "47b73eefe95e8d44ec3623f8890bd894b6ea2d6c",
    "399fba97a95f22c36834418bc69373364a99af3a1153da1c0fb31db567c92e23",
    1_217_522_888,
    "Apache-2.0",
    "dinov2",
)
DINOV2_BASE = Repository(
    "facebook/dinov2-base",
    "f9e44c814b77203eaa57a6bdbbd535f21ede1415",
    "d73036b56966966d07975d696bde331762f37297e2f095de8cea0040c3aa0841",
    346_345_912,
    "Apache-2.0",
    "dinov2",
)
CLIP_BASE_32 = Repository(
    "openai/clip-vit-base-patch32",
    # The main branch holds a pickle only: this is its conversion to safetensors, in a pull request there.
    "b33cedfd0df4e43b8238760678fcc89e1a0d38b3",
    "99d28a652e6ec46629ab7047a0ac82c69b1fe11e0ce672c43af65d3a9a3fc05d",
    605_157_884,
    "MIT",
    "clip",
)


def library(module: str, extractor: str) -> Any:
    """The optional library; one sentence where it is missing."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise WeightsError(
            f'the {extractor} extractor needs the {module} library: pip install "kennel[hub]"'
        ) from error


def hub_folder_at_hand(repository: Repository) -> Path | None:
    """The folder with the repository's files: in `$KENNEL_WEIGHTS`, then in the cache; else None."""
    for place in weights_places():
        folder = place / repository.stored
        if all((folder / name).is_file() for name in (CONFIG, TENSORS)):
            return folder
    return None


def checked_folder(repository: Repository, extractor: str, given: Path) -> Path:
    """The folder that `given` is or lies in, where it holds the two files and a network of the right type."""
    folder = given.parent if given.name in (CONFIG, TENSORS) else given
    absent = [name for name in (CONFIG, TENSORS) if not (folder / name).is_file()]
    if absent:
        raise WeightsError(
            f"{folder} holds no {' and no '.join(absent)}: give the folder of {repository.name} with "
            f"{CONFIG} and {TENSORS} (a pickle such as pytorch_model.bin is never read)"
        )
    try:
        config = read_json(folder / CONFIG, named=True)
        model_type = config.get("model_type")
    except (UntrustedError, AttributeError) as error:
        raise WeightsError(
            f"{folder / CONFIG} cannot be read as a network's description ({error})"
        ) from error
    if model_type != repository.model_type:
        raise WeightsError(
            f"{folder} holds a network of the type {model_type}, and the {extractor} extractor needs "
            f"{repository.model_type}: give the folder of {repository.name}"
        )
    return folder


def fetch_repository(repository: Repository, extractor: str) -> Path:
    """Downloads the two files at the pinned revision into the cache, checked before they get their place."""
    hub = library("huggingface_hub", extractor)
    verbosity = hub.logging.get_verbosity()
    destination = weights_folder() / repository.stored
    temporary = destination.with_name(f".{destination.name}.{os.getpid()}.part")
    by_hand = (
        f"get {CONFIG} and {TENSORS} from {repository.address}, then put them into {destination} or give "
        "their folder with --weights"
    )
    try:
        hub.logging.set_verbosity_error()  # its words of every retry; what it comes to is raised below
        for name in (CONFIG, TENSORS):
            hub.hf_hub_download(repository.name, name, revision=repository.revision, local_dir=temporary)
        _place(repository, temporary, destination, by_hand)
    except (OSError, ValueError, hub.errors.HfHubHTTPError) as error:
        first = str(error).strip().splitlines()[0].rstrip(".")
        raise WeightsError(
            f"the weights of the {extractor} extractor are not at hand and cannot be downloaded ({first}): "
            f"{by_hand}"
        ) from error
    finally:
        hub.logging.set_verbosity(verbosity)
        shutil.rmtree(temporary, ignore_errors=True)
    return destination


def keep_folder(repository: Repository, extractor: str, given: Path) -> Path:
    """Copies a folder got by hand into the cache, where it is the published one; else `WeightsError`."""
    folder = checked_folder(repository, extractor, given)
    destination = weights_folder() / repository.stored
    temporary = destination.with_name(f".{destination.name}.{os.getpid()}.part")
    try:
        temporary.mkdir(parents=True)
        for name in (CONFIG, TENSORS):
            shutil.copyfile(folder / name, temporary / name)
        _place(
            repository,
            temporary,
            destination,
            f"get it again from {repository.address}, or judge with it as it is by --weights {folder}",
        )
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return destination


def _place(repository: Repository, temporary: Path, destination: Path, remedy: str) -> None:
    """Moves the two files into the cache, the tensors last: they are what makes the folder complete."""
    sha256 = file_sha256(temporary / TENSORS)
    if sha256 != repository.sha256:
        raise WeightsError(
            f"{TENSORS} has sha256 {sha256[:16]}…, that of {repository.name} has {repository.sha256[:16]}…: "
            f"{remedy}"
        )
    destination.mkdir(parents=True, exist_ok=True)
    for name in (CONFIG, TENSORS):
        (temporary / name).replace(destination / name)
