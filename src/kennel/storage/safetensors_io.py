"""Safetensors files with a checksum over the tensors and a seal (a digest) over the JSON metadata.

Reading runs no code. A truncated, altered or foreign file raises a `CheckpointError` of one sentence.
"""

import errno
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

import kennel
from kennel.errors import CheckpointError, CheckpointFormatError
from kennel.storage.atomic_io import atomic_file
from kennel.storage.untrusted import UntrustedError, parse_json, printable

FORMAT = 2
"""Files of another format are refused. It rises when old files would be misread."""
MOST_ROLLBACKS = 1_000
_METADATA, _SEAL = "kennel", "seal"
"""Keys in the file's metadata. They must never change, so that newer files do not look damaged."""


def write(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Writes one file atomically. `about` is JSON without NaN. Raises `OSError` if the disk is full."""
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    content = {"format": FORMAT, "kennel": kennel.__version__, "checksum": checksum(plain), **about}
    metadata = json.dumps(content, allow_nan=False)
    with atomic_file(path) as temporary:
        try:
            save_file(plain, temporary, metadata={_METADATA: metadata, _SEAL: _seal(metadata)})
        except SafetensorError as error:
            _raise_as_os_error(error, path)


def bytes_of(tensors: Mapping[str, Tensor]) -> int:
    """Approximate size of a file with these tensors."""
    return sum(tensor.numel() * tensor.element_size() + 150 for tensor in tensors.values()) + 1_000


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the metadata of a file, verified."""
    with _opened(path) as file:
        about = _verified(path, file.metadata() or {})
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        found = checksum(tensors)
    if about["checksum"] != found:
        raise CheckpointError(f"the checkpoint {path} is damaged: its checksum does not match")
    return tensors, about


def read_metadata(path: Path) -> dict[str, Any]:
    """The metadata of a file, verified; the tensors are not read."""
    with _opened(path) as file:
        return _verified(path, file.metadata() or {})


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The open file. Errors in the block become a `CheckpointError`."""
    if not path.is_file():  # a folder, a pipe without an end, a broken link
        raise CheckpointError(f"the checkpoint {path} cannot be read (it is not a file)")
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    # torch raises several types for an unknown dtype or an impossible size.
    except (OSError, SafetensorError, RuntimeError, ValueError, TypeError, AttributeError) as error:
        reason = printable(str(error).strip().partition("\n")[0])[:200]
        raise CheckpointError(f"the checkpoint {path} cannot be read ({reason})") from None


def checksum(tensors: Mapping[str, Tensor]) -> str:
    """32 hexadecimal digits over names, dtypes, shapes and values."""
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _verified(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    """The metadata, if the seal matches and the format and the values are valid."""
    if _METADATA not in metadata:
        raise CheckpointError(f"{path} is a safetensors file, but not a checkpoint of kennel")
    text = metadata[_METADATA]
    try:
        about = parse_json(text)
    except UntrustedError:
        about = None
    if not isinstance(about, dict) or metadata.get(_SEAL) != _seal(text):
        raise CheckpointError(f"the checkpoint {path} is damaged: its metadata does not match its seal")
    written = about.get("format", 0)
    if not _is_count(written) or written == 0:
        raise CheckpointError(f"the checkpoint {path} is damaged: it has no valid format number")
    if written != FORMAT:
        remedy = "update kennel to that version or a later one" if written > FORMAT else "use that version"
        raise CheckpointFormatError(
            f"the checkpoint {path} has format {written}, written by kennel {about.get('kennel', '?')}, but "
            f"kennel {kennel.__version__} only reads format {FORMAT}: {remedy}"
        )
    for name in ("checksum", "images_seen"):
        if name not in about:
            raise CheckpointError(f"the checkpoint {path} is damaged: it has no {name}")
    for name, value in about.items():
        if name in _VALID and not _VALID[name](value):
            raise CheckpointError(
                f"the checkpoint {path} is damaged: its {name} cannot be {repr(value)[:40]}"
            )
    return about


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53


def _is_number(value: Any) -> bool:
    """Whether it is a finite number: JSON's 1e999 is infinite."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


_VALID: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("checksum", "kennel", "recipe", "run", "best_metric"), _is_text),
    "at_tick": lambda value: isinstance(value, bool),
    "images_seen": _is_count,
    "parent": lambda value: isinstance(value, dict),
    "seconds": lambda value: _is_number(value) and value >= 0,
    "tick_due": lambda value: isinstance(value, bool),
    "best": lambda value: value is None or _is_number(value),
    "best_images": _is_count,
    "validations_since_best": _is_count,
    "rollbacks": lambda value: _is_count(value) and value < MOST_ROLLBACKS,
}
"""Checks of the metadata's values; a missing value is valid."""


def _seal(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _raise_as_os_error(error: SafetensorError, path: Path) -> NoReturn:
    """Safetensors only has the system's error as text: "... (os error 28)"."""
    number = re.search(r"os error (\d+)", str(error))
    code = int(number[1]) if number else errno.EIO
    raise OSError(code, os.strerror(code) if number else str(error), str(path)) from error
