"""A run is a folder: where its parts lie, its log that survives a crash, and who it is."""

import hashlib
import json
import os
from collections.abc import Mapping
from io import FileIO
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from kennel.config.base import fits, sentence
from kennel.config.recipe import Recipe, from_yaml
from kennel.errors import RunError
from kennel.storage.atomic_io import append_durable, write_text
from kennel.storage.untrusted import MAX_YAML_BYTES, UntrustedError, read_bytes, read_json, read_json_lines

Count = Annotated[int, Field(ge=0, lt=1 << 53, strict=True)]
Name = Annotated[str, Field(max_length=300)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]


class _Line(BaseModel):
    """A line of a file that grows by lines; `model_extra` are the names that it does not know."""

    model_config = ConfigDict(extra="allow")

    images: Count


class _LogLine(_Line):
    __pydantic_extra__: dict[Name, bool | Number | str | None] = Field(init=False)

    seconds: Annotated[float, Field(ge=0, lt=1e12, strict=True)] | None = None
    validations_since_best: Count | None = None


class _SpectraLine(_Line):
    __pydantic_extra__: dict[Name, dict[Name, Annotated[list[Number], Field(min_length=1, max_length=3)]]] = (
        Field(init=False)
    )


class _AlarmLine(_Line):
    """An alarm, with what was seen, or a rollback, with where it led."""

    rollbacks: Count = 0
    rollback: Count | None = None
    back_to: Count | None = None
    alarm: Name | None = None
    saw: Annotated[str, Field(min_length=1)] | None = None
    why: str | None = None
    attempt: str | None = Field(None, alias="try")

    @model_validator(mode="after")
    def _is_one_of_both(self) -> "_AlarmLine":
        alarm = None not in (self.alarm, self.saw, self.why, self.attempt)
        if not alarm and None in (self.rollback, self.back_to):
            raise ValueError("neither an alarm nor a rollback")
        return self


class _Data(BaseModel):
    path: Annotated[str, Field(min_length=1, max_length=4096)]
    fingerprint: Annotated[str, Field(max_length=200)]
    count: Annotated[int, Field(ge=1, lt=1 << 48, strict=True)] | None = None
    shape: Any = None
    classes: list[str] | None = None
    pixels: str | None = None


class _Parent(BaseModel):
    """The run that this one began with, and where not all of its weights were taken, which not."""

    path: Annotated[str, Field(max_length=4096)] | None = None
    run: Name | None = None
    fingerprint: Name | None = None
    checksum: Name | None = None
    images_seen: Count | None = None
    taken: Annotated[list[Count], Field(min_length=2, max_length=2)] | None = None
    new: Annotated[list[Name], Field(max_length=100_000)] | None = None


class _About(BaseModel):
    """`run.json`."""

    data: _Data
    versions: dict[Name, str] | None = None
    parent: _Parent | None = None
    teacher: Name | None = None
    """The pretrained network that the generator learned from, by the name of its extractor."""


class RunDir:
    """The parts of a run's folder by name.

    `recipe.yaml` (resolved), `run.json` (data set, versions), `log.jsonl`, `spectra.jsonl`, `alarms.jsonl`,
    `samples/`, `checkpoints/`, `judgements/`, `tensorboard/`, `curves.png`, `spectra.png`, `report.html`,
    `nearest.png`.
    """

    def __init__(self, path: Path | str) -> None:
        """Names the folder; nothing is read or made."""
        self.path = Path(path)
        self.recipe_file = self.path / "recipe.yaml"
        self.about_file = self.path / "run.json"
        self.log_file = self.path / "log.jsonl"
        self.spectra_file = self.path / "spectra.jsonl"
        self.alarms_file = self.path / "alarms.jsonl"
        self.samples = self.path / "samples"
        self.checkpoints = self.path / "checkpoints"
        self.best_checkpoint = self.checkpoints / "best.safetensors"
        self.judgements = self.path / "judgements"
        self.tensorboard = self.path / "tensorboard"
        self.curves = self.path / "curves.png"
        self.spectra_picture = self.path / "spectra.png"
        self.report = self.path / "report.html"
        self.nearest = self.path / "nearest.png"

    def exists(self) -> bool:
        """Whether a run has begun here."""
        return self.recipe_file.is_file() and self.about_file.is_file()

    def begin(self, recipe: Recipe, about: Mapping[str, Any]) -> None:
        """Writes who the run is. A folder that holds something else is refused.

        What a beginning that was killed left behind is no hindrance.
        """
        self.refuse_other_content()
        write_text(self.recipe_file, recipe.to_yaml())
        write_text(self.about_file, json.dumps(about, indent=2) + "\n")

    def refuse_other_content(self, *, dot_files_too: bool = False) -> None:
        """Raises `RunError` where the folder is a file or holds something that is not a run's beginning.

        Files of a desktop such as `.DS_Store` are no hindrance, unless the folder is to be put in its place.
        """
        if self.path.exists() and not self.path.is_dir():
            raise RunError(f"{self.path} is a file: give --out a folder that is new or holds a run")
        own = {self.recipe_file.name, self.about_file.name}
        entries = [entry.name for entry in self.path.iterdir()] if self.path.is_dir() else []
        if {"checkpoints", "log.jsonl"} & set(entries) and not self.exists():
            raise RunError(self._is_none())
        other = [name for name in entries if name not in own and (dot_files_too or not name.startswith("."))]
        if other:
            raise RunError(
                f"{self.path} holds files but no run ({other[0]}): give a folder that is new or empty, "
                "or that of the run to go on with"
            )

    def recipe(self) -> Recipe:
        """The run's resolved recipe; `RunError` where this is no run."""
        if not self.exists():
            raise RunError(self._is_none())
        try:
            return from_yaml(read_bytes(self.recipe_file, MAX_YAML_BYTES).decode(), str(self.recipe_file))
        except UnicodeDecodeError:
            raise RunError(
                f"{self.recipe_file} is damaged (it is no text): bring it back from a copy, or begin anew"
            ) from None
        except UntrustedError as error:
            raise RunError(
                f"{self.recipe_file} is damaged ({error}): bring it back from a copy, or begin anew"
            ) from None

    def about(self) -> dict[str, Any]:
        """What `run.json` says: the data set's path, fingerprint and classes, and versions."""
        if not self.exists():
            raise RunError(self._is_none())
        try:
            content = read_json(self.about_file)
            _About.model_validate(content)
        except ValidationError as error:
            raise RunError(
                f"{self.about_file} is damaged: bring it back from a copy, or begin anew "
                f"({sentence(error, 'it')})"
            ) from None
        except UntrustedError as error:
            raise RunError(
                f"{self.about_file} is damaged: bring it back from a copy, or begin anew ({error})"
            ) from None
        whole: dict[str, Any] = content
        whole["data"]["classes"] = whole["data"].get("classes") or []
        return whole

    def _is_none(self) -> str:
        missing = next(file for file in (self.recipe_file, self.about_file) if not file.is_file())
        there = self.path.is_dir() and {entry.name for entry in self.path.iterdir()}
        if there and {"checkpoints", "log.jsonl", "run.json", "recipe.yaml"} & there:
            return f"{self.path} is not a whole run (its {missing.name} is gone): bring it back from a copy"
        return f"{self.path} is not a run (it has no recipe.yaml): make one with `kennel train`"

    def fingerprint(self) -> str:
        """Equal for runs of the same recipe on the same data."""
        text = self.recipe().fingerprint() + str(self.about()["data"]["fingerprint"])
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    def log(self) -> list[dict[str, Any]]:
        """The log's lines, oldest first; one that a crash cut off, or that is damaged, is left out."""
        return _lines(self.log_file, _LogLine)

    def spectra(self) -> list[dict[str, Any]]:
        """Singular values at 0 images and at each tick: `images`, and by player and layer a list of three."""
        return _lines(self.spectra_file, _SpectraLine)

    def alarms(self) -> list[dict[str, Any]]:
        """Alarms and rollbacks in the order in which they came, those of branches that were left included."""
        return _lines(self.alarms_file, _AlarmLine)

    def rewind_log(self, images_seen: int, rollbacks: int = 0) -> None:
        """Drops what came after `images_seen`: the run that goes on from there writes it again.

        Of the alarms those stay that came before the last of `rollbacks`: it does not write them again.
        """
        for file, lines in ((self.log_file, self.log()), (self.spectra_file, self.spectra())):
            kept = [line for line in lines if line["images"] <= images_seen]
            if file.is_file() or file == self.log_file:
                _write(file, kept)
        if self.alarms_file.is_file():
            kept = [
                line
                for line in self.alarms()
                if line["images"] <= images_seen or line.get("rollbacks", 0) < rollbacks
            ]
            _write(self.alarms_file, kept)

    def append_log(self, entry: Mapping[str, Any]) -> None:
        """Adds one whole line, on the disk when this returns; on an error the log is as it was.

        What a crash cut off at the end goes first, so that nothing is glued onto half a line.
        """
        _append(self.log_file, entry)

    def append_spectra(self, entry: Mapping[str, Any]) -> None:
        """Adds a tick's singular values, in the same way."""
        _append(self.spectra_file, entry)

    def append_alarm(self, entry: Mapping[str, Any]) -> None:
        """Adds an alarm or a rollback, in the same way; `rollbacks` in it counts those before."""
        _append(self.alarms_file, entry)


def _lines(file: Path, model: type[_Line]) -> list[dict[str, Any]]:
    """The lines that are what `model` says; each other one costs itself alone."""
    if not file.is_file():
        return []
    lines = []
    try:
        for line in read_json_lines(file):
            if isinstance(line, dict) and fits(model, line):
                lines.append(line)
    except UntrustedError as error:
        raise RunError(f"{file} cannot be read ({error}): bring it back from a copy, or remove it") from None
    return lines


def _write(file: Path, entries: list[dict[str, Any]]) -> None:
    kept = "".join(_line(entry) for entry in entries)
    if not file.is_file() or file.read_bytes() != kept.encode():
        write_text(file, kept)


def _append(path: Path, entry: Mapping[str, Any]) -> None:
    line = _line(entry).encode()
    # A link in the file's place is refused: it would lead out of the run.
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    with os.fdopen(os.open(path, flags, 0o644), "rb+", buffering=0) as file:
        append_durable(file, line, _end_of_lines(file))


def _end_of_lines(file: FileIO) -> int:
    """Where the last whole line ends."""
    size = file.seek(0, os.SEEK_END)
    if size == 0:
        return 0
    file.seek(size - 1)
    if file.read(1) == b"\n":
        return size
    file.seek(0)
    return file.read().rfind(b"\n") + 1


def _line(entry: Mapping[str, Any]) -> str:
    return json.dumps(entry, allow_nan=False) + "\n"
