"""A safetensors file whose every bit counts: tensors under a checksum, plain JSON words under a seal.

Reading one runs no code and believes nothing: what is truncated, altered, or not such a file at all is a
`CheckpointError` of one sentence.
"""

import errno
import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping
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
"""What files say of themselves. It rises by one where a file of before would be misread; such a file is
refused then."""
MOST_ROLLBACKS = 1_000
_WORDS, _SEAL = "kennel", "seal"
"""The names of the two entries in the file's metadata. They stay as they are in all formats to come, so that
a newer file is told from a damaged one."""


def write(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Writes one file; until it is whole, `path` stays as it was. `about` is plain JSON without NaN.

    Raises `OSError` where the disk is full, whatever the library below calls it.
    """
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    content = {"format": FORMAT, "kennel": kennel.__version__, "checksum": checksum(plain), **about}
    words = json.dumps(content, allow_nan=False)
    with atomic_file(path) as temporary:
        try:
            save_file(plain, temporary, metadata={_WORDS: words, _SEAL: _seal(words)})
        except SafetensorError as error:
            _raise_as_os_error(error, path)


def bytes_of(tensors: Mapping[str, Tensor]) -> int:
    """About how many bytes a file of these takes."""
    return sum(tensor.numel() * tensor.element_size() + 150 for tensor in tensors.values()) + 1_000


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the words of a file of this format, verified."""
    if not path.is_file():  # a folder, a pipe that would never end, a link to nothing
        raise CheckpointError(f"the checkpoint {path} cannot be read (it is no file)")
    try:
        with safe_open(path, framework="pt") as file:
            about = _verified(path, file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            found = checksum(tensors)
    # Torch says in several ways that it has no such type or size.
    except (OSError, SafetensorError, RuntimeError, ValueError, TypeError, AttributeError) as error:
        reason = printable(str(error).strip().partition("\n")[0])[:200]
        raise CheckpointError(f"the checkpoint {path} cannot be read ({reason})") from None
    if about["checksum"] != found:
        raise CheckpointError(f"the checkpoint {path} is damaged: its checksum does not match")
    return tensors, about


def read_metadata(path: Path) -> dict[str, Any]:
    """What a file says about itself, verified; its tensors are not read."""
    if not path.is_file():
        raise CheckpointError(f"the checkpoint {path} cannot be read (it is no file)")
    try:
        with safe_open(path, framework="pt") as file:
            return _verified(path, file.metadata() or {})
    except (OSError, SafetensorError, RuntimeError, ValueError, TypeError, AttributeError) as error:
        reason = printable(str(error).strip().partition("\n")[0])[:200]
        raise CheckpointError(f"the checkpoint {path} cannot be read ({reason})") from None


def checksum(tensors: Mapping[str, Tensor]) -> str:
    """Of names, types, shapes and values: 32 hexadecimal digits."""
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _verified(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    """The words, where the seal holds and today's kennel understands their format."""
    if _WORDS not in metadata:
        raise CheckpointError(f"{path} is a safetensors file, but not a checkpoint of kennel")
    words = metadata[_WORDS]
    try:
        about = parse_json(words)
    except UntrustedError:
        about = None
    if not isinstance(about, dict) or metadata.get(_SEAL) != _seal(words):
        raise CheckpointError(f"the checkpoint {path} is damaged: what it says of itself does not hold")
    written = about.get("format", 0)
    if not _is_count(written) or written == 0:
        raise CheckpointError(f"the checkpoint {path} is damaged: it names no format")
    if written != FORMAT:
        remedy = (
            "update kennel to that version or a later one" if written > FORMAT else "read it with that one"
        )
        raise CheckpointFormatError(
            f"the checkpoint {path} has format {written}, written by kennel {about.get('kennel', '?')}, and "
            f"kennel {kennel.__version__} reads format {FORMAT} alone: {remedy}"
        )
    _check_words(path, about)
    return about


def _check_words(path: Path, about: Mapping[str, Any]) -> None:
    for name in ("checksum", "images_seen"):
        if name not in about:
            raise CheckpointError(f"the checkpoint {path} is damaged: it says nothing of its {name}")
    for name, value in about.items():
        if name in _KINDS and not _KINDS[name](value):
            given = repr(value)[:40]
            raise CheckpointError(f"the checkpoint {path} is damaged: its {name} cannot be {given}")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53


def _is_number(value: Any) -> bool:
    """Finite: JSON's 1e999 is an infinity."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


_KINDS: dict[str, Callable[[Any], bool]] = {
    "checksum": lambda value: isinstance(value, str),
    "kennel": lambda value: isinstance(value, str),
    "recipe": lambda value: isinstance(value, str),
    "run": lambda value: isinstance(value, str),
    "at_tick": lambda value: isinstance(value, bool),
    "images_seen": _is_count,
    "parent": lambda value: isinstance(value, dict),
    "seconds": lambda value: _is_number(value) and value >= 0,
    "tick_due": lambda value: isinstance(value, bool),
    "best": lambda value: value is None or _is_number(value),
    "best_metric": lambda value: isinstance(value, str),
    "best_images": _is_count,
    "validations_since_best": _is_count,
    "rollbacks": lambda value: _is_count(value) and value < MOST_ROLLBACKS,
}
"""What the words may be, where they are there."""


def _seal(words: str) -> str:
    return hashlib.blake2b(words.encode(), digest_size=16).hexdigest()


def _raise_as_os_error(error: SafetensorError, path: Path) -> NoReturn:
    """The library wraps what the system said as words: "... (os error 28)"."""
    number = re.search(r"os error (\d+)", str(error))
    code = int(number[1]) if number else errno.EIO
    raise OSError(code, os.strerror(code) if number else str(error), str(path)) from error
