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
    """Weights in a model repository. `name` on the hub; `revision`, the commit; `sha256` and `size` in bytes
    of its `model.safetensors`; `license`; `model_type` in its `config.json`."""

    name: str
    revision: str
    sha256: str
    size: int
    license: str
    model_type: str

    @property
    def address(self) -> str:
        """The page with the files."""
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
    # The main branch has only a pickle; this commit, of a pull request there, has its safetensors conversion.
    "b33cedfd0df4e43b8238760678fcc89e1a0d38b3",
    "99d28a652e6ec46629ab7047a0ac82c69b1fe11e0ce672c43af65d3a9a3fc05d",
    605_157_884,
    "MIT",
    "clip",
)


def import_optional(module: str, extractor: str) -> Any:
    """Imports an optional library; raises `WeightsError` if it is missing."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise WeightsError(
            f'the {extractor} extractor needs the {module} library: pip install "kennel[hub]"'
        ) from error


def find_repository_folder(repository: Repository) -> Path | None:
    """The folder with the repository's files, from `$KENNEL_WEIGHTS` or the cache; None if not found."""
    for place in weights_places():
        folder = place / repository.stored
        if all((folder / name).is_file() for name in (CONFIG, TENSORS)):
            return folder
    return None


def check_folder(repository: Repository, extractor: str, given: Path) -> Path:
    """The folder of the given folder or file; raises `WeightsError` unless it has both files and the right
    network type."""
    folder = given.parent if given.name in (CONFIG, TENSORS) else given
    missing = [name for name in (CONFIG, TENSORS) if not (folder / name).is_file()]
    if missing:
        raise WeightsError(
            f"{folder} has no {' and no '.join(missing)}: give the folder of {repository.name} with "
            f"{CONFIG} and {TENSORS} (pickles such as pytorch_model.bin are never read)"
        )
    try:
        config = read_json(folder / CONFIG, named=True)
        model_type = config.get("model_type")
    except (UntrustedError, AttributeError) as error:
        raise WeightsError(f"{folder / CONFIG} is not a network's configuration ({error})") from error
    if model_type != repository.model_type:
        raise WeightsError(
            f"{folder} has a network of type {model_type}, and the {extractor} extractor needs "
            f"{repository.model_type}: give the folder of {repository.name}"
        )
    return folder


def fetch_repository(repository: Repository, extractor: str) -> Path:
    """Downloads both files at the pinned revision, verifies them, and moves them into the cache."""
    hub = import_optional("huggingface_hub", extractor)
    verbosity = hub.logging.get_verbosity()
    destination = weights_folder() / repository.stored
    temporary = destination.with_name(f".{destination.name}.{os.getpid()}.part")
    remedy = (
        f"get {CONFIG} and {TENSORS} from {repository.address}, then put them into {destination} or give "
        "their folder with --weights"
    )
    try:
        hub.logging.set_verbosity_error()  # no messages about retries
        for name in (CONFIG, TENSORS):
            hub.hf_hub_download(repository.name, name, revision=repository.revision, local_dir=temporary)
        _place(repository, temporary, destination, remedy)
    except (OSError, ValueError, hub.errors.HfHubHTTPError) as error:
        first = str(error).strip().splitlines()[0].rstrip(".")
        raise WeightsError(
            f"the weights of the {extractor} extractor are missing and cannot be downloaded ({first}): "
            f"{remedy}"
        ) from error
    finally:
        hub.logging.set_verbosity(verbosity)
        shutil.rmtree(temporary, ignore_errors=True)
    return destination


def store_folder(repository: Repository, extractor: str, given: Path) -> Path:
    """Copies a folder into the cache; raises `WeightsError` if it is not the published one."""
    folder = check_folder(repository, extractor, given)
    destination = weights_folder() / repository.stored
    temporary = destination.with_name(f".{destination.name}.{os.getpid()}.part")
    try:
        temporary.mkdir(parents=True)
        for name in (CONFIG, TENSORS):
            shutil.copyfile(folder / name, temporary / name)
        remedy = f"get it again from {repository.address}, or use it without fetch by --weights {folder}"
        _place(repository, temporary, destination, remedy)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return destination


def _place(repository: Repository, temporary: Path, destination: Path, remedy: str) -> None:
    """Moves both files into the cache, the tensors last: they complete the folder."""
    sha256 = file_sha256(temporary / TENSORS)
    if sha256 != repository.sha256:
        raise WeightsError(
            f"{TENSORS} has sha256 {sha256[:16]}…, and {repository.name} has {repository.sha256[:16]}…: "
            f"{remedy}"
        )
    destination.mkdir(parents=True, exist_ok=True)
    for name in (CONFIG, TENSORS):
        (temporary / name).replace(destination / name)
