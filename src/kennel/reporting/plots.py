"""Draws panels with matplotlib's objects; pyplot's global state is not thread-safe."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from kennel.reporting.format import figure, short_count
from kennel.reporting.panels import LOG_SCALE_FROM, Mark, Panel
from kennel.storage.atomic_io import atomic_file

TITLE_PAD = 22
"""Points; keeps long titles above the row of the legend."""
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
"""The palette of Okabe and Ito, for color-blind readers."""
DARK, GRAY, SILVER, LIGHT = "#1f2933", "#5f6c7b", "#b6bec8", "#e4e8ee"
PANEL_WIDTH, PANEL_HEIGHT, DOTS_PER_INCH = 6.0, 3.3, 150
MARKERS_UP_TO = 40
ALARM = "#b3261e"
"""The color of marks."""


def draw(
    panels: Sequence[Panel], destination: Path, set_size: int | None, marks: Sequence[Mark] = ()
) -> None:
    """Draws two panels per row; if their number is odd, the first has its own row."""
    rows = math.ceil(len(panels) / 2)
    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1, hspace=0.04, wspace=0.03)
    canvas = new_figure((2 * PANEL_WIDTH, rows * PANEL_HEIGHT + 0.15), layout)
    grid = canvas.add_gridspec(rows, 2)
    first_is_wide = len(panels) % 2
    for index, panel in enumerate(panels):
        place = index + first_is_wide if index else 0
        cell = grid[0, :] if index == 0 and first_is_wide else grid[place // 2, place % 2]
        axes = canvas.add_subplot(cell)
        _draw_panel(axes, panel, marks)
        if set_size and panel.kind == "metric":
            _add_epochs(axes, set_size)
    with atomic_file(destination) as temporary:
        canvas.savefig(temporary, format="png")


def new_figure(size: tuple[float, float], layout: Any = None) -> Figure:
    """Returns a white figure of `size` inches that can be saved as PNG."""
    canvas = Figure(figsize=size, dpi=DOTS_PER_INCH, facecolor="white", layout=layout)
    FigureCanvasAgg(canvas)
    return canvas


def counts() -> FuncFormatter:
    """Returns a formatter of counts, such as 100k."""
    return FuncFormatter(lambda value, place: short_count(value))


def _draw_panel(axes: Axes, panel: Panel, marks: Sequence[Mark]) -> None:
    style(axes, panel.title)
    first = COLORS.index("#009E73") if panel.kind == "metric" else 0
    for number, line in enumerate(panel.lines):
        axes.plot(
            line.images,
            line.values,
            color=COLORS[(first + number) % len(COLORS)],
            linewidth=1.8,
            marker="o" if len(line.images) <= MARKERS_UP_TO else None,
            markersize=3.5,
            label=line.label,
            clip_on=False,
            zorder=3,
        )
    last = max(*(max(line.images) for line in panel.lines), *(mark.images for mark in marks), 1)
    axes.set_xlim(0, last * 1.02)
    if len(panel.lines) > 1:
        axes.legend(
            loc="lower right",
            bbox_to_anchor=(1.0, 0.99),
            ncols=2 if len(panel.lines) == 2 else 3,
            frameon=False,
            fontsize=9.5,
            labelcolor=DARK,
            handlelength=1.4,
            columnspacing=1.2,
            borderaxespad=0.0,
        )
    match panel.kind:
        case "metric":
            _mark_best(axes, panel)
        case "gradient" if all(value > 0 for line in panel.lines for value in line.values):
            axes.set_yscale("log")
        case "probability":
            axes.set_ylim(0, 1)
            axes.axhline(0.5, color=GRAY, linewidth=1, linestyle=(0, (4, 3)), zorder=2)
        case "speed":
            axes.set_ylim(0, max(panel.lines[0].values) * 1.15 or 1)
            axes.yaxis.set_major_formatter(counts())
    draw_marks(axes, marks)


def draw_marks(axes: Axes, marks: Sequence[Mark]) -> None:
    """Draws a vertical line for each mark, labeled along the line."""
    for mark in marks:
        axes.axvline(mark.images, color=ALARM, linewidth=1.2, linestyle=(0, (5, 2)), zorder=2.5)
        near_the_end = mark.images > 0.93 * axes.get_xlim()[1]
        axes.annotate(
            mark.label,
            (mark.images, 0.97),
            xycoords=axes.get_xaxis_transform(),
            xytext=(-3 if near_the_end else 3, 0),
            textcoords="offset points",
            rotation=90,
            ha="right" if near_the_end else "left",
            va="top",
            fontsize=8.5,
            color=ALARM,
            zorder=5,
            bbox={"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.75},
        )


def style(axes: Axes, title: str) -> None:
    """Sets title, ticks and grid of a panel over images shown."""
    style_axes(axes, title, TITLE_PAD)
    axes.set_xlabel("images shown", fontsize=10, color=GRAY)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.xaxis.set_major_formatter(counts())


def style_axes(axes: Axes, title: str, pad: int, labelsize: int | float = 10) -> None:
    """Sets title, ticks and grid; `pad` is the distance of the title in points."""
    _set_title(axes, title, pad)
    axes.tick_params(which="both", colors=GRAY, labelsize=labelsize, length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(SILVER)
    axes.grid(axis="y", color=LIGHT, linewidth=0.9)
    axes.set_axisbelow(True)


def _set_title(axes: Axes, title: str, pad: int) -> None:
    axes.set_title(title, loc="left", fontsize=12, fontweight="bold", color=DARK, pad=pad)


def _mark_best(axes: Axes, panel: Panel) -> None:
    line, best = panel.lines[0], panel.best
    if best is None:
        return
    lowest, highest = min(line.values), max(line.values)
    is_low = line.values[best] == lowest
    if lowest > 0 and highest / lowest > LOG_SCALE_FROM:
        axes.set_yscale("log")
        room = (highest / lowest) ** 0.2
        axes.set_ylim(*((lowest / room, highest * 1.05) if is_low else (lowest / 1.05, highest * room)))
        axes.yaxis.set_major_formatter(counts())
        axes.yaxis.set_minor_formatter(NullFormatter())
        _set_title(axes, f"{panel.title}, log scale", TITLE_PAD)
    else:
        span = (highest - lowest) or abs(highest) or 1.0
        below, above = (0.22, 0.05) if is_low else (0.05, 0.22)
        axes.set_ylim(lowest - below * span, highest + above * span)
        if lowest >= 0:  # the room for the label may extend below 0; there are no values
            axes.set_yticks([tick for tick in axes.get_yticks() if 0 <= tick <= axes.get_ylim()[1]])
    images, value = line.images[best], line.values[best]
    axes.plot([images], [value], "o", color=COLORS[1], markersize=8, clip_on=False, zorder=4)
    share = images / axes.get_xlim()[1]
    axes.annotate(
        f"best {figure(value)} at {short_count(images)}",
        (images, value),
        xytext=(0, -9 if is_low else 9),
        textcoords="offset points",
        ha="left" if share < 0.15 else "right" if share > 0.85 else "center",
        va="top" if is_low else "bottom",
        fontsize=10.5,
        fontweight="bold",
        color=COLORS[1],
    )


def _add_epochs(axes: Axes, set_size: int) -> None:

    def to_epochs(images: Any) -> Any:
        return images / set_size

    def to_images(epochs: Any) -> Any:
        return epochs * set_size

    above = axes.secondary_xaxis("top", functions=(to_epochs, to_images))
    above.tick_params(colors=GRAY, labelsize=9, length=0, pad=1)
    above.spines["top"].set_visible(False)
    above.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    above.xaxis.set_major_formatter(FuncFormatter(_epochs))


def _epochs(value: float, place: int | None) -> str:
    if value <= 0:  # the axis of images shows 0
        return ""
    return f"{short_count(value)} epoch" + ("" if value == 1 else "s")
