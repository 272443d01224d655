"""A generator as one file to pass on: safetensors, with its recipe, its classes and a model card inside.

The file holds what is needed to draw pictures, and no training image (with instances, vectors of their
features). Its bytes are a function of its content alone. Reading one runs no code and believes nothing: what
is truncated, altered, too large or not such a file at all is a `GeneratorFileError` of one sentence.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, ValidationError, model_validator
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

import kennel
from kennel.config.base import Config, sentence
from kennel.errors import GeneratorFileError
from kennel.storage.atomic_io import atomic_file
from kennel.storage.safetensors_io import checksum
from kennel.storage.untrusted import UntrustedError, parse_json, printable, read_bytes

SUFFIX = ".safetensors"
FORMAT = 1
MOST_BYTES = 1 << 30
MOST_HEADER_BYTES = 4 << 20
MOST_CARD = 256 << 10
"""Characters of a model card."""
MOST_TRUNCATION = 1e6
MOST_PASSES = 1_000
"""Of standing statistics; each draws a batch before the first picture."""
DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}
_WORDS, _SEAL, _CARD = "kennel_generator", "kennel_seal", "README.md"
"""Entries of the file's metadata. They stay as they are in all formats to come."""
_STORED = (*DTYPES.values(), torch.int64, torch.bool)

Text = Annotated[str, Field(max_length=4_000)]
Name = Annotated[str, Field(max_length=300)]
Count = Annotated[int, Field(ge=0, lt=1 << 53, strict=True)]
Number = Annotated[float, Field(allow_inf_nan=False)]


class ExportedScore(Config):
    """What `kennel judge` said of the run at this checkpoint; fields as in `Judgement` and its protocol.

    `floor` is what two halves of the reference score against each other, with `floor_count` images a side.
    """

    metric: Name
    value: Number
    interval: tuple[Number, Number] | None = None
    extractor: Name
    weights_sha256: Name | None = None
    resize: Name
    precision: Name
    sample_count: Count
    reference_count: Count
    reference_fingerprint: Name
    seed: Count
    truncation: Number | None = None
    class_sampling: Literal["data", "uniform"] | None = None
    floor: Number | None = None
    floor_count: Count | None = None
    warnings: tuple[Text, ...] = Field((), max_length=20)


class Origin(Config):
    """The training set: its digest and count, what it is and on what terms; nothing that is in it."""

    fingerprint: Name
    count: Count | None = None
    note: Text = ""


class Words(Config):
    """What a file says of its generator, beside the weights.

    `recipe` is the run's whole recipe as YAML: networks, latent, image, class counts, sampling. `classes` are
    the names of the classes by label. `truncation` is what samples are drawn with where none is asked for.
    `teacher` is the pretrained network that taught the generator, by the name of its extractor.
    `fingerprint` stands for run and weights in pictures. `dtype` is the type that matrices and kernels are
    stored in; vectors are float32. `kennel` is the version that wrote it.
    """

    format: Literal[1] = 1
    kennel: Name = kennel.__version__
    name: Name
    recipe: Annotated[str, Field(max_length=1 << 20)]
    classes: tuple[Name, ...] = Field((), max_length=32_768)
    images_seen: Count
    averaged: bool
    dtype: Literal["float16", "bfloat16", "float32"]
    truncation: Annotated[float, Field(ge=0.01, le=MOST_TRUNCATION)] | None = None
    teacher: Name | None = None
    fingerprint: Name
    license: Name = ""
    data: Origin
    scores: tuple[ExportedScore, ...] = Field((), max_length=1_000)
    checksum: Name = ""

    @model_validator(mode="after")
    def _shown_as_it_is(self) -> "Words":
        if not all(name.isprintable() for name in self.classes):
            raise ValueError("names of classes hold control characters")
        return self


@dataclass(frozen=True)
class Exported:
    """A file's tensors by name, what it says of itself, and its model card."""

    tensors: Mapping[str, Tensor]
    words: Words
    card: str


def in_dtype(state: Mapping[str, Tensor], dtype: str) -> dict[str, Tensor]:
    """The state as it is stored: matrices and kernels in `dtype`, vectors and single numbers in float32.

    Vectors are gains, biases and batch norm's statistics: few, and of a range that float16 does not have.
    Raises `GeneratorFileError` where a value is not finite, or is beyond the largest number of `dtype`.
    """
    stored = {}
    for name, tensor in state.items():
        kept = tensor.detach().cpu().contiguous()
        if kept.is_floating_point():
            if not bool(kept.isfinite().all()):
                raise GeneratorFileError(
                    f"the generator's {name} is not finite (NaN or infinite): take an older checkpoint"
                )
            kept = kept.to(DTYPES[dtype] if kept.ndim > 1 else torch.float32)
            if not bool(kept.isfinite().all()):
                raise GeneratorFileError(
                    f"the generator's {name} has values beyond {torch.finfo(DTYPES[dtype]).max:,.0f}, the "
                    f"largest of {dtype}: give --dtype bfloat16"
                )
        stored[name] = kept.clone()
    return stored


def write(path: Path, tensors: Mapping[str, Tensor], words: Words, card: str) -> int:
    """Writes one file, atomically; gives its size in bytes. The same content gives the same bytes."""
    told = words.model_copy(update={"checksum": checksum(tensors)}).model_dump(mode="json")
    text = json.dumps(told, allow_nan=False, sort_keys=True)
    metadata = {"format": "pt", _WORDS: text, _CARD: card, _SEAL: _seal(text, card)}
    content = _sorted_header(save(dict(tensors), metadata))
    with atomic_file(path) as temporary:
        temporary.write_bytes(content)
    return len(content)


def _sorted_header(content: bytes) -> bytes:
    """The same file with its header's entries in order: the library writes metadata in a random one."""
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    text = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of 8 bytes
    return len(text).to_bytes(8, "little") + text + content[8 + size :]


def read(path: Path, name: str | None = None) -> Exported:
    """Reads and verifies one file, in time and memory that are in proportion to it.

    Messages call it by `name`, its path where that is not given.
    """
    name = name or str(path)
    content = _content(path, name)
    words, card = _verified(name, _metadata(name, content))
    try:
        tensors = load(content)
    # Torch says in several ways that it has no such type or size.
    except (SafetensorError, RuntimeError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise _damaged(name, printable(str(error).strip().partition("\n")[0])[:200]) from None
    if checksum(tensors) != words.checksum:
        raise _damaged(name, "its checksum does not match")
    for key, tensor in tensors.items():
        if tensor.dtype not in _STORED:
            raise _damaged(name, f"its {printable(key)[:80]} is {tensor.dtype}")
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise _damaged(name, f"its {printable(key)[:80]} holds values that are not finite")
    return Exported(tensors, words, card)


def _content(path: Path, name: str) -> bytes:
    try:
        return read_bytes(path, MOST_BYTES, named=True)
    except UntrustedError as error:
        raise GeneratorFileError(
            f"{name} is no exported generator ({error}): give a file that `kennel export` wrote"
        ) from None


def _metadata(name: str, content: bytes) -> dict[str, Any]:
    """The entries of the header's metadata, the header bounded before it is parsed."""
    size = int.from_bytes(content[:8], "little")
    if len(content) < 8 or not content[8:9] == b"{" or size > 100_000_000:
        raise GeneratorFileError(
            f"{name} is no safetensors file: give a file that `kennel export` wrote, or a run's folder"
        )
    if size > len(content) - 8:
        raise _damaged(name, "it is cut off")
    if size > MOST_HEADER_BYTES:
        raise _damaged(name, f"its header has more than {MOST_HEADER_BYTES:,} bytes")
    try:
        header = parse_json(content[8 : 8 + size].decode("utf-8"))
    except (UntrustedError, UnicodeDecodeError) as error:
        raise _damaged(name, f"its header cannot be read: {printable(str(error))[:120]}") from None
    metadata = header.get("__metadata__") if isinstance(header, dict) else None
    if not isinstance(metadata, dict) or not all(isinstance(one, str) for one in metadata.values()):
        metadata = {}
    return metadata


def _verified(name: str, metadata: Mapping[str, str]) -> tuple[Words, str]:
    if _WORDS not in metadata:
        raise GeneratorFileError(f"{name} {_foreign(metadata)}")
    text, card = metadata[_WORDS], metadata.get(_CARD, "")
    try:
        content = parse_json(text)
    except UntrustedError as error:
        raise _damaged(name, f"what it says of itself cannot be read: {error}") from None
    if not isinstance(content, dict) or metadata.get(_SEAL) != _seal(text, card):
        raise _damaged(name, "what it says of itself does not hold")
    written = content.get("format")
    if isinstance(written, int) and written > FORMAT:
        raise GeneratorFileError(
            f"{name} has format {written}, written by kennel {str(content.get('kennel', '?'))[:40]}, and "
            f"kennel {kennel.__version__} reads formats up to {FORMAT}: update kennel"
        )
    if len(card) > MOST_CARD:
        raise _damaged(name, f"its model card has more than {MOST_CARD:,} characters")
    try:
        return Words.model_validate(content), card
    except ValidationError as error:
        raise _damaged(name, sentence(error, "it")) from None


def _foreign(metadata: Mapping[str, str]) -> str:
    """What a file is that is no exported generator, with the way to one."""
    if "kennel" in metadata:
        return (
            "is a checkpoint, which draws within its run only: give the run's folder, or export it with "
            "`kennel export RUN`"
        )
    return "is a safetensors file, but no generator that `kennel export` wrote: give one of these, or a run"


def _seal(text: str, card: str) -> str:
    return hashlib.blake2b(json.dumps([text, card]).encode(), digest_size=16).hexdigest()


def _damaged(name: str, why: str) -> GeneratorFileError:
    return GeneratorFileError(f"{name} cannot be used ({why}): get it again, or export it again from its run")
