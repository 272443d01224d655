"""Draws the first three singular values of every weight matrix, with a panel for each network.

Another panel shows the weights after spectral normalization, if layers have it.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from math import floor, log10
from pathlib import Path
from typing import Any

from kennel.engine.singular_values import USED, Spectrum
from kennel.reporting.format import short_count
from kennel.reporting.panels import Mark, plain

NETWORKS = ("generator", "discriminator")
MAX_NAMED = 14
"""Layers in a legend: those with the largest first singular value at the end."""
STYLES: tuple[Any, ...] = ("-", (0, (4, 2)), (0, (1, 1.5)))


def draw_spectra(spectra: Sequence[Mapping[str, Any]], destination: Path, marks: Sequence[Mark] = ()) -> bool:
    """Draws the lines of `spectra.jsonl` as one PNG; returns False and writes no file if there are none."""
    if not spectra:
        return False
    # Imported here because matplotlib takes a second.
    from matplotlib.layout_engine import ConstrainedLayoutEngine
    from matplotlib.ticker import FuncFormatter

    from kennel.reporting.plots import counts, draw_marks, new_figure, style
    from kennel.storage.atomic_io import atomic_file

    panels = panels_of_spectra(spectra)
    canvas = new_figure((12.0, 4.5 * len(panels)), ConstrainedLayoutEngine())
    last = max(*(int(line["images"]) for line in spectra), *(mark.images for mark in marks), 1)
    for axes, (title, history) in zip(canvas.subplots(len(panels), 1), panels.items(), strict=True):
        style(axes, title)
        axes.set_xlim(0, last * 1.02)
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(counts())
        axes.yaxis.set_minor_formatter(FuncFormatter(partial(_minor_label, axes)))
        _draw_layers(axes, history)
        draw_marks(axes, marks)
    with atomic_file(destination) as temporary:
        canvas.savefig(temporary, format="png")
    return True


History = list[tuple[int, Spectrum]]
"""Spectra by images shown."""


def panels_of_spectra(spectra: Sequence[Mapping[str, Any]]) -> dict[str, History]:
    """Returns panels by title: for each network its trained weights and, if any, its normalized weights."""
    panels: dict[str, History] = {}
    for network in NETWORKS:
        history = [(int(line["images"]), line[network]) for line in spectra if line.get(network)]
        trained, used = (
            [
                (
                    images,
                    {
                        layer.removesuffix(USED): values
                        for layer, values in spectrum.items()
                        if layer.endswith(USED) == is_used
                    },
                )
                for images, spectrum in history
            ]
            for is_used in (False, True)
        )
        name = network.capitalize()
        panels[f"{name}: first three singular values of its weights, log scale"] = trained
        if any(spectrum for _, spectrum in used):
            panels[f"{name}: first three singular values after spectral normalization, log scale"] = used
    return panels


def _minor_label(axes: Any, value: float, place: int) -> str:
    """Labels values that are not powers of ten, as many as there is room for."""
    bottom, top = axes.get_ylim()
    decades = log10(top / bottom)
    mantissa = round(value / 10 ** floor(log10(value)))
    is_labeled = decades < 0.7 or (decades < 3 and mantissa in (2, 5))
    return short_count(value) if is_labeled else ""


def _draw_layers(axes: Any, history: History) -> None:
    """Draws the named layers in rainbow colors from first to last, and the others in gray."""
    from matplotlib import colormaps
    from matplotlib.lines import Line2D

    from kennel.reporting.plots import DARK, GRAY, LIGHT, SILVER

    if not history:
        return
    last = history[-1][1]
    largest = sorted(last, key=lambda layer: -last[layer][0])[:MAX_NAMED]
    shown = [layer for layer in last if layer in largest]
    colors = {
        layer: colormaps["turbo"](0.06 + 0.86 * place / max(1, len(shown) - 1))
        for place, layer in enumerate(shown)
    }
    for layer in sorted(last, key=lambda layer: layer in colors):  # gray lines first, below the others
        for number, dashes in enumerate(STYLES[: len(last[layer])]):
            points = [
                (images, spectrum[layer][number])
                for images, spectrum in history
                if number < len(spectrum.get(layer, ())) and spectrum[layer][number] > 0
            ]
            if points:
                axes.plot(
                    *zip(*points, strict=True),
                    color=colors.get(layer, SILVER),
                    linestyle=dashes,
                    linewidth=1.8 if number == 0 else 1.0,
                    alpha=1.0 if number == 0 else 0.75,
                    marker="o" if len(points) < 3 else None,
                    clip_on=len(points) > 2,
                    markersize=3.5,
                )
    handles = [Line2D([], [], color=colors[layer], linewidth=2.2, label=plain(layer)) for layer in shown]
    if others := len(last) - len(shown):
        handles.append(Line2D([], [], color=SILVER, linewidth=2.2, label=f"{others} others"))
    handles += [
        Line2D([], [], color=GRAY, linestyle=dashes, label=f"{name} value")
        for dashes, name in zip(STYLES, ("first", "second", "third"), strict=True)
    ]
    axes.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(1.005, 1.02),
        frameon=False,
        fontsize=8.5,
        labelcolor=DARK,
        handlelength=1.8,
        borderaxespad=0.0,
    )
    axes.grid(axis="y", which="major", color=LIGHT, linewidth=0.9)
