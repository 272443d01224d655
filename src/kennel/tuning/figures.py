"""Figures of a search: the importance of each number, and the scores of all trials."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill

from matplotlib.axes import Axes
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from kennel.reporting.format import short_count
from kennel.reporting.panels import LOG_SCALE_FROM
from kennel.reporting.plots import (
    ALARM,
    COLORS,
    DARK,
    GRAY,
    LIGHT,
    SILVER,
    new_figure,
    style_axes,
)
from kennel.storage.atomic_io import atomic_file
from kennel.tuning.rows import TrialRow, improvements, own_of

WIDTH, BAR_HEIGHT, HEIGHT = 8.0, 0.32, 3.9
"""Inches."""


def draw_importances(importances: Mapping[str, float], note: str, destination: Path) -> None:
    """Draws a bar for each key, the most important one at the top, with `note` below."""
    names = list(importances)[::-1]
    shares = [importances[name] for name in names]
    paper = new_figure((WIDTH, 1.5 + BAR_HEIGHT * len(names)), ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1))
    axes = paper.add_subplot()
    style_axes(axes, "Importance for the score", 10)
    axes.barh(names, shares, color=COLORS[0], height=0.62, zorder=3)
    for place, share in enumerate(shares):
        axes.annotate(
            f"{share:.0%}",
            (share, place),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=9.5,
            color=DARK,
        )
    axes.set_xlim(0, max(shares) * 1.12 or 1.0)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, place: f"{value:.0%}"))
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", color=LIGHT, linewidth=0.9)
    axes.tick_params(axis="y", colors=DARK)
    axes.set_xlabel(fill(note, 105), fontsize=9, color=GRAY, labelpad=8, loc="right")
    with atomic_file(destination) as temporary:
        paper.savefig(temporary, format="png")


def draw_history(rows: Sequence[TrialRow], direction: str, label: str, destination: Path) -> None:
    """Draws the score of each trial and the best so far; failed trials are marks at the lower edge."""
    paper = new_figure((WIDTH, HEIGHT), ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1))
    axes = paper.add_subplot()
    values = [row.score for row in rows if row.score is not None]
    is_log = bool(values) and min(values) > 0 and max(values) / min(values) > LOG_SCALE_FROM
    style_axes(axes, f"Best {label} of each trial{', log scale' if is_log else ''}", 24)
    if is_log:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, place: short_count(value)))
        axes.yaxis.set_minor_formatter(NullFormatter())
    _plot_trials(axes, rows, direction)
    axes.set_xlim(-0.5, max((row.number for row in rows), default=0) + 0.5)
    axes.set_xlabel("trial", fontsize=10, color=GRAY)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.spines["bottom"].set_color(SILVER)
    axes.legend(
        loc="lower right",
        bbox_to_anchor=(1.0, 0.99),
        ncols=5,
        frameon=False,
        fontsize=9,
        labelcolor=DARK,
        handletextpad=0.4,
        columnspacing=1.2,
        borderaxespad=0.0,
    )
    with atomic_file(destination) as temporary:
        paper.savefig(temporary, format="png")


def _plot_trials(axes: Axes, rows: Sequence[TrialRow], direction: str) -> None:
    """A point for each scored trial, the best so far as steps, the recipe as a line, failed trials below."""
    for state, name, fill_color in (
        ("finished", "finished", COLORS[0]),
        ("pruned", "pruned, at fewer images", "white"),
    ):
        if of_state := [
            (row.number, row.score) for row in rows if row.state == state and row.score is not None
        ]:
            axes.plot(
                [number for number, _ in of_state],
                [score for _, score in of_state],
                "o",
                color=COLORS[0],
                markerfacecolor=fill_color,
                markersize=6,
                label=name,
                zorder=4,
            )
    best = improvements(rows, direction)
    scores = [row.score for row in best if row.score is not None]
    last = max((row.number for row in rows), default=0)
    axes.step(
        [*(row.number for row in best), *([last] if best else [])],
        [*scores, *scores[-1:]],
        where="post",
        color=COLORS[1],
        linewidth=1.8,
        label="best so far",
        zorder=3,
    )
    if (own := own_of(rows)) is not None and own.score is not None:
        axes.axhline(own.score, color=GRAY, linewidth=1, linestyle=(0, (4, 3)), zorder=2, label="the recipe")
    if failed := [row.number for row in rows if row.state == "failed"]:
        axes.plot(
            failed,
            [0.02] * len(failed),
            "x",
            color=ALARM,
            markersize=7,
            transform=axes.get_xaxis_transform(),
            label="failed",
            zorder=4,
        )
