"""The first three singular values of every weight matrix on paper, a panel for each player.

Where layers are reparametrized (spectral norm), a panel more shows the weights that those layers use.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from math import floor, log10
from pathlib import Path
from typing import Any

from kennel.engine.singular_values import USED, Spectrum
from kennel.reporting.format import short_count
from kennel.reporting.panels import Mark, plain

PLAYERS = ("generator", "discriminator")
NAMED = 14
"""Layers in a legend; of more, those whose first value is largest at the end are named."""
STYLES: tuple[Any, ...] = ("-", (0, (4, 2)), (0, (1, 1.5)))


def draw_spectra(spectra: Sequence[Mapping[str, Any]], destination: Path, marks: Sequence[Mark] = ()) -> bool:
    """Draws the lines of `spectra.jsonl` as one PNG; with nothing to draw, no file and False."""
    if not spectra:
        return False
    # matplotlib takes a second to import: only where there is something to draw
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine
    from matplotlib.ticker import FuncFormatter

    from kennel.reporting.plots import DOTS_PER_INCH, draw_marks, style
    from kennel.storage.atomic_io import atomic_file

    panels = panels_of_spectra(spectra)
    paper = Figure(
        figsize=(12.0, 4.5 * len(panels)),
        dpi=DOTS_PER_INCH,
        facecolor="white",
        layout=ConstrainedLayoutEngine(),
    )
    FigureCanvasAgg(paper)
    furthest = max(*(int(line["images"]) for line in spectra), *(mark.images for mark in marks), 1)
    for axes, (title, history) in zip(paper.subplots(len(panels), 1), panels.items(), strict=True):
        style(axes, title)
        axes.set_xlim(0, furthest * 1.02)
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, place: short_count(value)))
        axes.yaxis.set_minor_formatter(FuncFormatter(partial(_between_decades, axes)))
        _draw_layers(axes, history)
        draw_marks(axes, marks)
    with atomic_file(destination) as temporary:
        paper.savefig(temporary, format="png")
    return True


History = list[tuple[int, Spectrum]]
"""Spectra by the images that had been seen."""


def panels_of_spectra(spectra: Sequence[Mapping[str, Any]]) -> dict[str, History]:
    """The titles of a figure's panels, and what each shows: of each player the weights that the optimizer
    moves and, where some layers use others, those."""
    panels: dict[str, History] = {}
    for player in PLAYERS:
        both = [(int(line["images"]), line[player]) for line in spectra if line.get(player)]
        used = [(images, _with_ending(spectrum, USED)) for images, spectrum in both]
        name, log = player.capitalize(), "log scale"
        moved = [(images, _without_ending(spectrum, USED)) for images, spectrum in both]
        panels[f"{name}: the first three singular values of its weights, {log}"] = moved
        if any(spectrum for _, spectrum in used):
            panels[f"{name}: those of the weights that its spectrally normalized layers use, {log}"] = used
    return panels


def _with_ending(spectrum: Spectrum, ending: str) -> Spectrum:
    return {
        layer.removesuffix(ending): values for layer, values in spectrum.items() if layer.endswith(ending)
    }


def _without_ending(spectrum: Spectrum, ending: str) -> Spectrum:
    return {layer: values for layer, values in spectrum.items() if not layer.endswith(ending)}


def _between_decades(axes: Any, value: float, place: int) -> str:
    """The label of a value that is no power of ten: as many have one as there is room for."""
    bottom, top = axes.get_ylim()
    decades = log10(top / bottom)
    mantissa = round(value / 10 ** floor(log10(value)))
    labelled = decades < 0.7 or (decades < 3 and mantissa in (2, 5))
    return short_count(value) if labelled else ""


def _draw_layers(axes: Any, history: History) -> None:
    """Layers from the first to the last in the order of a rainbow; those without a name in grey."""
    from matplotlib import colormaps
    from matplotlib.lines import Line2D

    from kennel.reporting.plots import FAINT, INK, SOFT

    if not history:
        return
    last = history[-1][1]
    named = sorted(last, key=lambda layer: -last[layer][0])[:NAMED] if len(last) > NAMED else list(last)
    shown = [layer for layer in last if layer in named]
    colours = {
        layer: colormaps["turbo"](0.06 + 0.86 * place / max(1, len(shown) - 1))
        for place, layer in enumerate(shown)
    }
    for layer in sorted(last, key=lambda layer: layer in colours):  # grey below
        for number, dashes in enumerate(STYLES[: len(last[layer])]):
            points = [
                (images, spectrum[layer][number])
                for images, spectrum in history
                if number < len(spectrum.get(layer, ())) and spectrum[layer][number] > 0
            ]
            if points:
                axes.plot(
                    *zip(*points, strict=True),
                    color=colours.get(layer, "#b6bec8"),
                    linestyle=dashes,
                    linewidth=1.8 if number == 0 else 1.0,
                    alpha=1.0 if number == 0 else 0.75,
                    marker="o" if len(points) < 3 else None,
                    clip_on=len(points) > 2,
                    markersize=3.5,
                )
    handles = [Line2D([], [], color=colours[layer], linewidth=2.2, label=plain(layer)) for layer in shown]
    if len(last) > len(shown):
        handles.append(
            Line2D([], [], color="#b6bec8", linewidth=2.2, label=f"{len(last) - len(shown)} others")
        )
    handles += [
        Line2D([], [], color=SOFT, linestyle=dashes, label=f"{name} value")
        for dashes, name in zip(STYLES, ("first", "second", "third"), strict=True)
    ]
    axes.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(1.005, 1.02),
        frameon=False,
        fontsize=8.5,
        labelcolor=INK,
        handlelength=1.8,
        borderaxespad=0.0,
    )
    axes.grid(axis="y", which="major", color=FAINT, linewidth=0.9)
