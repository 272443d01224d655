"""The log's entries as TensorBoard events, where TensorBoard is installed.

The events are written here, record by record, and not by a thread of TensorBoard's: what a call has written
is on the disk when it returns, and a disk that is full is heard of.
"""

import importlib.util
import os
import time
from collections.abc import Callable, Mapping
from io import BytesIO, FileIO
from pathlib import Path
from types import TracebackType
from typing import Any

from kennel.engine.singular_values import Spectrum
from kennel.storage.atomic_io import append_durable

PREFIX = "events.out.tfevents."
VERSION = "brain.Event:2"
"""The version whose restarts TensorBoard knows by their step."""


class EventWriter:
    """Writes each entry's numbers as scalars over images; says once where TensorBoard is missing."""

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        """Nothing is written before `rewind` or the first entry, so that a refused run leaves nothing."""
        self._folder = folder
        self._file: FileIO | None = None
        self._rewound_to = 0
        self._installed = importlib.util.find_spec("tensorboard") is not None
        if not self._installed:
            say(
                "No TensorBoard events: pip install 'kennel[tensorboard]' brings them (log.jsonl has it all)."
            )

    def rewind(self, images_seen: int) -> None:
        """Events after `images_seen` are void from now on: TensorBoard drops them when it reads a restart."""
        self._rewound_to = images_seen
        if self._file is not None:
            self._restart()
        elif self._installed and _files(self._folder):
            self._open()

    def write(self, entry: Mapping[str, Any], spectra: Mapping[str, Spectrum] | None = None) -> None:
        """Adds one tick and its singular values, a group for each player; on the disk when this returns."""
        if not self._installed:
            return
        if self._file is None:
            self._open()
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [
            Summary.Value(tag=name, simple_value=value)
            for name, value in entry.items()
            if isinstance(value, int | float) and name != "images"
        ]
        values += [
            Summary.Value(tag=f"spectra_{player}/{layer}/sigma_{number}", simple_value=value)
            for player, spectrum in (spectra or {}).items()
            for layer, singular_values in spectrum.items()
            for number, value in enumerate(singular_values)
        ]
        values += [_text(name, value) for name, value in entry.items() if isinstance(value, str)]
        self._add(step=int(entry["images"]), summary=Summary(value=values))

    def _open(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._file = (self._folder / _next_name(self._folder)).open("xb", buffering=0)
        self._add(file_version=VERSION)
        self._restart()

    def _restart(self) -> None:
        """Voids all events after the step that the run goes on from, also those of earlier files."""
        from tensorboard.compat.proto.event_pb2 import SessionLog

        self._add(step=self._rewound_to + 1, session_log=SessionLog(status=SessionLog.START))

    def _add(self, **content: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter

        assert self._file is not None
        record = BytesIO()
        RecordWriter(record).write(Event(wall_time=time.time(), **content).SerializeToString())
        append_durable(self._file, record.getvalue())

    def __enter__(self) -> "EventWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Closes the events file."""
        if self._file is not None:
            self._file.close()


def _text(name: str, text: str) -> Any:
    """A text as TensorBoard's text plugin reads it."""
    from tensorboard.plugins.text.summary import text_pb  # type: ignore[import-untyped, unused-ignore]

    return text_pb(name, text).value[0]


def _files(folder: Path) -> list[str]:
    """The events files in the order in which TensorBoard reads them."""
    return sorted(path.name for path in folder.glob(f"{PREFIX}*"))


def _next_name(folder: Path) -> str:
    """A name that sorts behind all others.

    TensorBoard reads files by name, which begin with a time of ten digits. Two of one second, or a clock that
    was set back, would be read in the wrong order, and the restart would void the wrong events.
    """
    begun = int(time.time())
    for name in _files(folder):
        digits = name.removeprefix(PREFIX).partition(".")[0]
        if digits.isdecimal() and len(digits) == 10:
            begun = max(begun, int(digits) + 1)
    return f"{PREFIX}{begun:010d}.kennel.{os.getpid()}"
