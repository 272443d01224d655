"""Writes the log's entries as TensorBoard events, if TensorBoard is installed."""

import importlib.util
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kennel.engine.singular_values import Spectrum

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

_PREFIX = "events.out.tfevents."


class EventWriter:
    """Writes each entry's numbers as scalars over images; nothing if TensorBoard is not installed."""

    def __init__(self, folder: Path, log: Callable[[str], None]) -> None:
        """Writes nothing before `rewind` or the first entry, so that a refused run leaves no files."""
        self._folder = folder
        self._writer: SummaryWriter | None = None
        self._rewound_to = 0
        self._installed = importlib.util.find_spec("tensorboard") is not None
        if not self._installed:
            log("No TensorBoard events: for them, pip install 'kennel[tensorboard]' (log.jsonl has all).")

    def rewind(self, images_seen: int) -> None:
        """Hides earlier events after `images_seen` from TensorBoard."""
        self._rewound_to = images_seen
        self._close()
        if self._installed and any(self._folder.glob(f"{_PREFIX}*")):
            self._open().flush()

    def write(self, entry: Mapping[str, Any], spectra: Mapping[str, Spectrum] | None = None) -> None:
        """Writes one tick and its singular values, grouped by network, and flushes them.

        Raises `OSError` if these or earlier events cannot be written.
        """
        if not self._installed:
            return
        writer, images = self._writer or self._open(), int(entry["images"])
        for name, value in entry.items():
            if isinstance(value, str):
                writer.add_text(name, value, images)
            elif isinstance(value, int | float) and name != "images":
                writer.add_scalar(name, value, images)
        for network, spectrum in (spectra or {}).items():
            for layer, singular_values in spectrum.items():
                for number, value in enumerate(singular_values):
                    writer.add_scalar(f"spectra_{network}/{layer}/sigma_{number}", value, images)
        writer.flush()

    def _open(self) -> "SummaryWriter":
        from torch.utils.tensorboard import SummaryWriter

        _keep_order(self._folder)
        self._writer = SummaryWriter(str(self._folder), purge_step=self._rewound_to + 1)
        return self._writer

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def __enter__(self) -> "EventWriter":
        self._hook = hook = threading.excepthook

        def without_events(args: threading.ExceptHookArgs) -> None:
            """Hides the traceback of the writer's thread: the next call raises its error again."""
            if not type(args.thread).__module__.startswith("tensorboard."):
                hook(args)

        threading.excepthook = without_events
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        try:
            # After a failed event, closing would raise the same error again and hide the first.
            with suppress(OSError) if error is not None else nullcontext():
                self._close()
        finally:
            threading.excepthook = self._hook


def _keep_order(folder: Path) -> None:
    """Renames event files so that the next one sorts last.

    TensorBoard sorts files by name, which begins with the second of creation. If a file has the current
    second or a later one (the clock was set back), existing files get numbers in their order instead.
    """

    files = sorted(folder.glob(f"{_PREFIX}*"), key=lambda path: path.name)
    if files and files[-1].name >= f"{_PREFIX}{int(time.time()):010d}":
        for number, file in enumerate(files):
            file.rename(folder / f"{_PREFIX}{number:010d}.kennel")
