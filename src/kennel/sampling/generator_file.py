"""Reads and writes exported generators: safetensors files with the recipe, the classes and a model card.

A file contains no training image (with instances, it contains their feature vectors). Equal content gives
equal bytes. Reading a file runs no code; truncated, altered, too large or foreign files raise
`GeneratorFileError`.
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
FORMAT = 2
MAX_BYTES = 1 << 30
MAX_HEADER_BYTES = 4 << 20
MAX_CARD = 256 << 10
"""Characters of a model card."""
MAX_TRUNCATION = 1e6
MAX_PASSES = 1_000
"""Passes of standing statistics; each draws a batch before the first sample."""
DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}
_METADATA, _SEAL, _CARD = "kennel_generator", "kennel_seal", "README.md"
"""Keys of the safetensors metadata; they must stay the same in all future formats."""
_STORED = (*DTYPES.values(), torch.int64, torch.bool)

Text = Annotated[str, Field(max_length=4_000)]
Name = Annotated[str, Field(max_length=300)]
Count = Annotated[int, Field(ge=0, lt=1 << 53, strict=True)]
Number = Annotated[float, Field(allow_inf_nan=False)]


class ExportedScore(Config):
    """A score of `kennel judge` at this checkpoint; fields as in `Score` and its protocol.

    `floor` is the score of one half of the reference against the other, with `floor_count` images each.
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
    """The training set: its digest, its image count, and a note about its contents and terms."""

    fingerprint: Name
    count: Count | None = None
    note: Text = ""


class CopySearch(Config):
    """How many of `count` samples (seeds from 0) are too near to one of `training_count` training images.

    That is both thresholds of `kennel.evaluation.copy_guard.CopyGuard`, at its `quantile`, with the features
    of `extractor`. `real_share` is the share of training images too near to another one; `limit` is the share
    of samples above which the export is refused, unless it is asked for.
    """

    count: Annotated[int, Field(ge=1, lt=1 << 53, strict=True)]
    copies: Count
    training_count: Count
    extractor: Name
    quantile: Number
    threshold: Number
    ratio_threshold: Number
    real_share: Number
    limit: Number

    @property
    def share(self) -> float:
        """The share of samples that are too near."""
        return self.copies / self.count


class GeneratorMetadata(Config):
    """What a file stores in addition to the weights.

    `recipe` is the run's recipe as YAML: networks, latent, image, class counts, sampling. `classes` are the
    class names by label. `truncation` is the default of samples. `teacher` is the pretrained network in the
    discriminator, by the name of its extractor. `fingerprint` identifies run and weights in PNGs. `dtype` is
    the type of stored matrices and kernels; vectors are float32. `kennel` is the version that wrote the file.
    `copies` is the search for copies before the export, with which the format is 2; None if there was none.
    """

    format: Literal[1, 2] = 1
    kennel: Name = kennel.__version__
    name: Name
    recipe: Annotated[str, Field(max_length=1 << 20)]
    classes: tuple[Name, ...] = Field((), max_length=32_768)
    images_seen: Count
    averaged: bool
    dtype: Literal["float16", "bfloat16", "float32"]
    truncation: Annotated[float, Field(ge=0.01, le=MAX_TRUNCATION)] | None = None
    teacher: Name | None = None
    fingerprint: Name
    license: Name = ""
    data: Origin
    scores: tuple[ExportedScore, ...] = Field((), max_length=1_000)
    copies: CopySearch | None = None
    checksum: Name = ""

    @model_validator(mode="after")
    def _is_printable(self) -> "GeneratorMetadata":
        if not all(name.isprintable() for name in self.classes):
            raise ValueError("class names contain control characters")
        return self


@dataclass(frozen=True)
class Exported:
    """The content of a file: tensors by name, metadata and model card."""

    tensors: Mapping[str, Tensor]
    metadata: GeneratorMetadata
    card: str


def in_dtype(state: Mapping[str, Tensor], dtype: str) -> dict[str, Tensor]:
    """Converts a state for storage: matrices and kernels to `dtype`, vectors and scalars to float32.

    Vectors (gains, biases, batch norm statistics) are small and may exceed the range of float16. Raises
    `GeneratorFileError` if a value is not finite or exceeds the range of `dtype`.
    """
    stored = {}
    for name, tensor in state.items():
        kept = tensor.detach().cpu().contiguous()
        if kept.is_floating_point():
            if not bool(kept.isfinite().all()):
                raise GeneratorFileError(
                    f"the generator's {name} is not finite (NaN or infinite): give an older --checkpoint"
                )
            kept = kept.to(DTYPES[dtype] if kept.ndim > 1 else torch.float32)
            if not bool(kept.isfinite().all()):
                raise GeneratorFileError(
                    f"the generator's {name} exceeds {torch.finfo(DTYPES[dtype]).max:,.0f}, the largest "
                    f"value of {dtype}: give --dtype bfloat16"
                )
        stored[name] = kept.clone()
    return stored


def write(path: Path, tensors: Mapping[str, Tensor], metadata: GeneratorMetadata, card: str) -> int:
    """Writes a file atomically and returns its size in bytes. Equal content gives equal bytes."""
    values = as_json(metadata.model_copy(update={"checksum": checksum(tensors)}))
    text = json.dumps(values, allow_nan=False, sort_keys=True)
    header = {"format": "pt", _METADATA: text, _CARD: card, _SEAL: _seal(text, card)}
    content = _sorted_header(save(dict(tensors), header))
    with atomic_file(path) as temporary:
        temporary.write_bytes(content)
    return len(content)


def as_json(metadata: GeneratorMetadata) -> dict[str, Any]:
    """The metadata as stored. Without a search for copies versions that do not know of it read the file."""
    values = metadata.model_dump(mode="json")
    if metadata.copies is None:
        del values["copies"]
    return values | {"format": 1 if metadata.copies is None else 2}


def _sorted_header(content: bytes) -> bytes:
    """Sorts the entries of the header; safetensors writes the metadata in random order."""
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    text = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of 8 bytes
    return len(text).to_bytes(8, "little") + text + content[8 + size :]


def read(path: Path, name: str | None = None) -> Exported:
    """Reads and verifies a file, in time and memory proportional to its size.

    `name` is the file's name in messages (default: its path).
    """
    name = name or str(path)
    content = _content(path, name)
    metadata, card = _verified(name, _entries(name, content))
    try:
        tensors = load(content)
    # torch raises various errors for an unknown type or an impossible size.
    except (SafetensorError, RuntimeError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise unusable(name, printable(str(error).strip().partition("\n")[0])[:200]) from None
    if checksum(tensors) != metadata.checksum:
        raise unusable(name, "its checksum does not match")
    for key, tensor in tensors.items():
        if tensor.dtype not in _STORED:
            raise unusable(name, f"its {printable(key)[:80]} is {tensor.dtype}")
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise unusable(name, f"its {printable(key)[:80]} has values that are not finite")
    return Exported(tensors, metadata, card)


def _content(path: Path, name: str) -> bytes:
    try:
        return read_bytes(path, MAX_BYTES, named=True)
    except UntrustedError as error:
        raise GeneratorFileError(
            f"{name} is not an exported generator ({error}): give a file that `kennel export` wrote"
        ) from None


def _entries(name: str, content: bytes) -> dict[str, Any]:
    """Returns the metadata entries of the header; checks the header's size before parsing it."""
    size = int.from_bytes(content[:8], "little")
    if len(content) < 8 or not content[8:9] == b"{" or size > 100_000_000:
        raise GeneratorFileError(
            f"{name} is not a safetensors file: give a file that `kennel export` wrote, or a run's folder"
        )
    if size > len(content) - 8:
        raise unusable(name, "it is truncated")
    if size > MAX_HEADER_BYTES:
        raise unusable(name, f"its header has more than {MAX_HEADER_BYTES:,} bytes")
    try:
        header = parse_json(content[8 : 8 + size].decode("utf-8"))
    except (UntrustedError, UnicodeDecodeError) as error:
        raise unusable(name, f"its header cannot be read: {printable(str(error))[:120]}") from None
    metadata = header.get("__metadata__") if isinstance(header, dict) else None
    if not isinstance(metadata, dict) or not all(isinstance(one, str) for one in metadata.values()):
        metadata = {}
    return metadata


def _verified(name: str, entries: Mapping[str, str]) -> tuple[GeneratorMetadata, str]:
    """Returns the metadata and the model card after checking their seal, format and schema."""
    if _METADATA not in entries:
        raise GeneratorFileError(f"{name} {_foreign(entries)}")
    text, card = entries[_METADATA], entries.get(_CARD, "")
    try:
        content = parse_json(text)
    except UntrustedError as error:
        raise unusable(name, f"its metadata cannot be read: {error}") from None
    if not isinstance(content, dict) or entries.get(_SEAL) != _seal(text, card):
        raise unusable(name, "the checksum of its metadata does not match")
    written = content.get("format")
    if isinstance(written, int) and written > FORMAT:
        raise GeneratorFileError(
            f"{name} has format {written}, written by kennel {str(content.get('kennel', '?'))[:40]}, and "
            f"kennel {kennel.__version__} reads formats up to {FORMAT}: update kennel"
        )
    if len(card) > MAX_CARD:
        raise unusable(name, f"its model card has more than {MAX_CARD:,} characters")
    try:
        return GeneratorMetadata.model_validate(content), card
    except ValidationError as error:
        raise unusable(name, sentence(error, "it")) from None


def _foreign(entries: Mapping[str, str]) -> str:
    """Describes a file that is not an exported generator, and what to give instead."""
    if "kennel" in entries:
        return (
            "is a checkpoint, which can be sampled only from its run: give the run's folder, or export it "
            "with `kennel export RUN`"
        )
    return (
        "is a safetensors file, but not a generator that `kennel export` wrote: give one of these, or a run"
    )


def _seal(text: str, card: str) -> str:
    return hashlib.blake2b(json.dumps([text, card]).encode(), digest_size=16).hexdigest()


def unusable(name: str, why: str) -> GeneratorFileError:
    """Returns the error for a file that is damaged or does not match its recipe."""
    return GeneratorFileError(f"{name} cannot be used ({why}): get it again, or export it again from its run")
