"""A run's folder: its files, its logs, which survive a crash, and its fingerprint."""

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
    """A line of a JSON-lines file; other keys go to `model_extra`."""

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
    """An alarm (`alarm`, `saw`, `why`, `try`) or a rollback (`rollback`, `back_to`)."""

    rollbacks: Count = 0
    rollback: Count | None = None
    back_to: Count | None = None
    alarm: Name | None = None
    saw: Annotated[str, Field(min_length=1)] | None = None
    why: str | None = None
    attempt: str | None = Field(None, alias="try")

    @model_validator(mode="after")
    def _is_alarm_or_rollback(self) -> "_AlarmLine":
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
    """The run that this one began from; `new` are the layers that its weights did not fit."""

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
    """The pretrained network that trains the generator, by the name of its extractor."""


class RunDir:
    """The files and folders of a run by name. The constructor reads and writes nothing."""

    def __init__(self, path: Path | str) -> None:
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

    def best_or_newest(self, checkpoint: str) -> str:
        """`checkpoint`, or "newest" in place of "best" for a run that was not validated."""
        return "newest" if checkpoint == "best" and not self.best_checkpoint.is_file() else checkpoint

    def exists(self) -> bool:
        """Whether a run has begun here."""
        return self.recipe_file.is_file() and self.about_file.is_file()

    def begin(self, recipe: Recipe, about: Mapping[str, Any]) -> None:
        """Writes the recipe and `run.json`; also over those of a start that was killed.

        Raises `RunError` if the folder has other content.
        """
        self.refuse_other_content()
        write_text(self.recipe_file, recipe.to_yaml())
        write_text(self.about_file, json.dumps(about, indent=2) + "\n")

    def refuse_other_content(self, *, dot_files_too: bool = False) -> None:
        """Raises `RunError` if the folder is a file or has content that is not from a run's start.

        Dot files such as `.DS_Store` are ignored, unless `dot_files_too`.
        """
        if self.path.exists() and not self.path.is_dir():
            raise RunError(f"{self.path} is a file: give --out a folder that is new or holds a run")
        own = {self.recipe_file.name, self.about_file.name}
        entries = [entry.name for entry in self.path.iterdir()] if self.path.is_dir() else []
        if {"checkpoints", "log.jsonl"} & set(entries) and not self.exists():
            raise RunError(self._not_a_run())
        other = [name for name in entries if name not in own and (dot_files_too or not name.startswith("."))]
        if other:
            raise RunError(
                f"{self.path} has files but is not a run ({other[0]}): give a folder that is new or empty, "
                "or the folder of a run to continue"
            )

    def recipe(self) -> Recipe:
        """The run's resolved recipe. Raises `RunError` if this is not a run."""
        if not self.exists():
            raise RunError(self._not_a_run())
        try:
            return from_yaml(read_bytes(self.recipe_file, MAX_YAML_BYTES).decode(), str(self.recipe_file))
        except UnicodeDecodeError:
            raise _damaged(self.recipe_file, "it is not text") from None
        except UntrustedError as error:
            raise _damaged(self.recipe_file, str(error)) from None

    def about(self) -> dict[str, Any]:
        """The content of `run.json`: the data set's path, fingerprint and classes, and versions."""
        if not self.exists():
            raise RunError(self._not_a_run())
        try:
            content: dict[str, Any] = read_json(self.about_file)
            _About.model_validate(content)
        except ValidationError as error:
            raise _damaged(self.about_file, sentence(error, "it")) from None
        except UntrustedError as error:
            raise _damaged(self.about_file, str(error)) from None
        content["data"]["classes"] = content["data"].get("classes") or []
        return content

    def _not_a_run(self) -> str:
        missing = next(file for file in (self.recipe_file, self.about_file) if not file.is_file())
        entries = self.path.is_dir() and {entry.name for entry in self.path.iterdir()}
        if entries and {"checkpoints", "log.jsonl", "run.json", "recipe.yaml"} & entries:
            return f"{self.path} is an incomplete run ({missing.name} is missing): restore it from a copy"
        return f"{self.path} is not a run (it has no recipe.yaml): make one with `kennel train`"

    def fingerprint(self) -> str:
        """Equal for runs of the same recipe on the same data."""
        text = self.recipe().fingerprint() + str(self.about()["data"]["fingerprint"])
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    def log(self) -> list[dict[str, Any]]:
        """The log's lines, oldest first, without damaged lines and one that a crash cut off."""
        return _lines(self.log_file, _LogLine)

    def spectra(self) -> list[dict[str, Any]]:
        """At 0 images and at each tick: `images`, and three singular values by network and layer."""
        return _lines(self.spectra_file, _SpectraLine)

    def alarms(self) -> list[dict[str, Any]]:
        """Alarms and rollbacks in order, also those from before a rollback."""
        return _lines(self.alarms_file, _AlarmLine)

    def rewind_log(self, images_seen: int, rollbacks: int = 0) -> None:
        """Drops the lines after `images_seen`, which the resumed run writes again.

        Alarms from before the last of `rollbacks` stay, because the run does not write them again.
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
        """Adds one line and flushes it to the disk. On an error the log is unchanged.

        A partial last line, left by a crash, is removed first.
        """
        _append(self.log_file, entry)

    def append_spectra(self, entry: Mapping[str, Any]) -> None:
        """Adds a tick's singular values, as `append_log` does."""
        _append(self.spectra_file, entry)

    def append_alarm(self, entry: Mapping[str, Any]) -> None:
        """Adds an alarm or a rollback, as `append_log` does; its `rollbacks` counts those before."""
        _append(self.alarms_file, entry)


def _damaged(file: Path, reason: str) -> RunError:
    return RunError(f"{file} is damaged ({reason}): restore it from a copy, or start a new run")


def _lines(file: Path, model: type[_Line]) -> list[dict[str, Any]]:
    """The valid lines of a file; invalid ones are skipped."""
    if not file.is_file():
        return []
    lines = []
    try:
        for line in read_json_lines(file):
            if isinstance(line, dict) and fits(model, line):
                lines.append(line)
    except UntrustedError as error:
        raise RunError(f"{file} cannot be read ({error}): restore it from a copy, or remove it") from None
    return lines


def _write(file: Path, entries: list[dict[str, Any]]) -> None:
    text = "".join(_line(entry) for entry in entries)
    if not file.is_file() or file.read_bytes() != text.encode():
        write_text(file, text)


def _append(path: Path, entry: Mapping[str, Any]) -> None:
    line = _line(entry).encode()
    # A symbolic link is refused, since it would lead out of the run's folder.
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    with os.fdopen(os.open(path, flags, 0o644), "rb+", buffering=0) as file:
        append_durable(file, line, _end_of_lines(file))


def _end_of_lines(file: FileIO) -> int:
    """The position after the last complete line."""

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
