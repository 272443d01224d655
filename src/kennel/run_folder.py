"""A run is a folder: where its parts lie, its log that survives a crash, and who it is."""

import hashlib
import json
import os
from collections.abc import Mapping
from io import FileIO
from pathlib import Path
from typing import Any

from kennel.atomic import append_whole, write_text
from kennel.errors import RunError
from kennel.recipe import Recipe, from_yaml


class RunFolder:
    """The parts of a run's folder by name.

    `recipe.yaml` (resolved), `run.json` (data set, versions), `log.jsonl`, `spectra.jsonl`, `alarms.jsonl`,
    `samples/`, `checkpoints/`, `judgements/`, `tensorboard/`, `curves.png`, `spectra.png`, `report.html`.
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
            return from_yaml(self.recipe_file.read_text(encoding="utf-8"), str(self.recipe_file))
        except UnicodeDecodeError:
            raise RunError(
                f"{self.recipe_file} is damaged (it is no text): bring it back from a copy, or begin anew"
            ) from None

    def about(self) -> dict[str, Any]:
        """What `run.json` says: the data set's path, fingerprint and classes, and versions."""
        if not self.exists():
            raise RunError(self._is_none())
        try:
            content = json.loads(self.about_file.read_text(encoding="utf-8"))
            str(content["data"]["fingerprint"])
            Path(content["data"]["path"])
            content["data"]["classes"] = list(content["data"].get("classes") or [])
        except (ValueError, KeyError, TypeError, RecursionError):
            raise RunError(
                f"{self.about_file} is damaged: bring it back from a copy, or begin anew"
            ) from None
        whole: dict[str, Any] = content
        return whole

    def _is_none(self) -> str:
        missing = next(file for file in (self.recipe_file, self.about_file) if not file.is_file())
        if missing == self.about_file:
            return f"{self.path} is not a whole run (its run.json is gone): bring it back from a copy"
        return f"{self.path} is not a run (it has no recipe.yaml): make one with `kennel train`"

    def fingerprint(self) -> str:
        """Equal for runs of the same recipe on the same data."""
        text = self.recipe().fingerprint() + str(self.about()["data"]["fingerprint"])
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    def log(self) -> list[dict[str, Any]]:
        """The log's lines, oldest first; one that a crash cut off, or that is damaged, is left out."""
        return _lines(self.log_file)

    def spectra(self) -> list[dict[str, Any]]:
        """Singular values at 0 images and at each tick: `images`, and by player and layer a list of three."""
        return _lines(self.spectra_file)

    def alarms(self) -> list[dict[str, Any]]:
        """Alarms and rollbacks in the order in which they came, those of branches that were left included."""
        return _lines(self.alarms_file)

    def rewind_log(self, images_seen: int, rollbacks: int = 0) -> None:
        """Drops what came after `images_seen`: the run that goes on from there writes it again.

        Of the alarms those stay that came before the last of `rollbacks`: it does not write them again.
        """
        for file in (self.log_file, self.spectra_file):
            kept = [line for line in _lines(file) if line["images"] <= images_seen]
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


def _lines(file: Path) -> list[dict[str, Any]]:
    if not file.is_file():
        return []
    lines = []
    for text in file.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if isinstance(line, dict) and isinstance(line.get("images"), int):
            lines.append(line)
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
        append_whole(file, line, _end_of_lines(file))


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
