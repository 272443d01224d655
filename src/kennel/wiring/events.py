"""The log's entries as TensorBoard events, where TensorBoard is installed."""

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from kennel.monitor.spectra import Spectrum


class EventWriter:
    """Writes each entry's numbers as scalars over images; says once where TensorBoard is missing."""

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        """Nothing is written before the first entry, so that a refused run leaves nothing behind."""
        self._folder = folder
        self._writer: Any = None
        self._installed = importlib.util.find_spec("tensorboard") is not None
        if not self._installed:
            say(
                "No TensorBoard events: pip install 'kennel[tensorboard]' brings them (log.jsonl has it all)."
            )

    def write(self, entry: Mapping[str, Any], spectra: Mapping[str, Spectrum] | None = None) -> None:
        """Adds one tick and its singular values, a group for each player.

        A line that a crash made obsolete is purged by its step.
        """
        if not self._installed:
            return
        images = int(entry["images"])
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(self._folder), purge_step=images)
        for name, value in entry.items():
            if isinstance(value, int | float) and name != "images":
                self._writer.add_scalar(name, value, global_step=images)
            elif isinstance(value, str):
                self._writer.add_text(name, value, global_step=images)
        for player, spectrum in (spectra or {}).items():
            for layer, values in spectrum.items():
                for number, value in enumerate(values):
                    tag = f"spectra_{player}/{layer}/sigma_{number}"
                    self._writer.add_scalar(tag, value, global_step=images)
        self._writer.flush()

    def rewind(self) -> None:
        """The next entry purges all that came after it: the run has gone back."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def __enter__(self) -> "EventWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Closes the events file."""
        if self._writer is not None:
            self._writer.close()
