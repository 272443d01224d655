"""Displays samples as a grid and scores as a table, in notebooks and terminals."""

import html
import io
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

from PIL import Image

from kennel.data.images import PixelArray
from kennel.errors import JudgementError
from kennel.evaluation.metrics.base import METRICS
from kennel.evaluation.score import Score, warnings_about, write_judgements
from kennel.images import png_text, save_png, tile, to_pillow
from kennel.reporting.format import figure
from kennel.sampling.pictures import show, with_captions
from kennel.sampling.sample_files import seeds_and_classes


class SampleGrid:
    """Samples with their seeds and classes, displayed as one image.

    Attributes: `pixels`, uint8 (N, C, H, W); `seeds`; `labels`, class numbers or None; `columns` of the
    image. Its PNGs say that a GAN made them.
    """

    def __init__(
        self,
        pixels: PixelArray,
        seeds: Sequence[int],
        labels: Sequence[int] | None,
        text: Mapping[str, str],
        columns: int | None = None,
        classes: Sequence[str] = (),
    ) -> None:
        """`text` is the text of the PNGs, `classes` the class names by label."""
        self.pixels, self.seeds, self.labels, self.columns = pixels, seeds, labels, columns
        self._classes = classes
        self._text = text

    def __len__(self) -> int:
        return len(self.pixels)

    def __repr__(self) -> str:
        count, channels, height, width = self.pixels.shape
        return f"<{count} samples of {width}x{height}, {channels} channel{'s' * (channels != 1)}>"

    @cached_property
    def image(self) -> Image.Image:
        """The grid as a Pillow image."""
        return to_pillow(tile(self.pixels, self.columns))

    def show(self) -> None:
        """Displays the grid in the notebook or, outside of one, in the system's image viewer."""
        show(self, self.image)

    def save(self, file: str | Path, *, labels: bool = False) -> Path:
        """Writes the grid as a PNG and returns its path; `labels` writes seeds and classes under images."""
        file = Path(file)
        grid = tile(self.pixels, self.columns)
        if labels:
            lines = seeds_and_classes(self.seeds, self.labels, self._classes)
            grid = tile(with_captions(self.pixels, lines), self.columns, least_side=1)
        save_png(file, grid, self._text)
        return file

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.image.save(buffer, format="PNG", pnginfo=png_text(self._text))
        return buffer.getvalue()


class Scores:
    """Scores of the same images, in order; printed as a table with their protocol.

    `scores["fid"]` and `scores[0]` are of type `Score`: `metric`, `value`, `interval` (a pair or None),
    `details`, `protocol`. `notes` are remarks about the measurement.
    """

    def __init__(self, scores: Sequence[Score], notes: Sequence[str] = ()) -> None:
        self._scores, self.notes = tuple(scores), tuple(notes)

    def __len__(self) -> int:
        return len(self._scores)

    def __iter__(self) -> Iterator[Score]:
        return iter(self._scores)

    def __getitem__(self, key: int | str) -> Score:
        """Returns a score by index or metric; raises `JudgementError` for a metric that was not measured."""
        if isinstance(key, int):
            return self._scores[key]
        found = next((score for score in self._scores if score.metric == key), None)
        if found is None:
            names = ", ".join(score.metric for score in self._scores)
            raise JudgementError(f"{key} was not measured, only {names}")
        return found

    def save(self, file: str | Path) -> Path:
        """Writes the scores with their protocol as a JSON list and returns its path."""
        file = Path(file)
        write_judgements(file, self._scores)
        return file

    @property
    def _rows(self) -> list[tuple[str, str, str, str]]:
        rows: list[tuple[str, str, str, str]] = []
        for score in self._scores:
            metric = METRICS[score.metric]
            better = "" if metric.direction == "neither" else metric.direction
            interval = "" if score.interval is None else figure(score.interval)
            rows.append((metric.label, figure(score.value), interval, better))
        return rows

    @property
    def _remarks(self) -> list[str]:
        protocol = [self._scores[-1].protocol.words()] if self._scores else []
        warnings = dict.fromkeys(text for score in self._scores for text in warnings_about(score))
        return [*self.notes, *protocol, *(f"Warning: {text}" for text in warnings)]

    def __repr__(self) -> str:
        rows = [_HEADINGS, *self._rows]
        widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
        lines = []
        for name, value, interval, better in rows:
            numbers = f"{value:>{widths[1]}}  {interval:>{widths[2]}}"
            lines.append(f"{name:<{widths[0]}}  {numbers}  {better}".rstrip())
        return "\n".join([*lines, *self._remarks])

    def _repr_html_(self) -> str:
        def row(tag: str, cells: Sequence[str]) -> str:
            return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

        table = row("th", _HEADINGS) + "".join(row("td", cells) for cells in self._rows)
        remarks = "".join(f"<p>{html.escape(text)}</p>" for text in self._remarks)
        return f"<table>{table}</table>{remarks}"


_HEADINGS = ("metric", "value", "95% interval", "better")
