"""One generator at several truncation thresholds: variety against fidelity.

Latents are redrawn until each value is inside [-t, t] (Brock et al. 2019, arXiv 1809.11096, section 3.1). A
low threshold gives better single images of less variety, and can saturate a generator that was not
regularized for it (section 3.2, orthogonal regularization).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FixedFormatter, FixedLocator, NullFormatter, NullLocator

from kennel.comparison.checkpoints import MAX_DISTANCE_IMAGES, mean_nearest_distance
from kennel.comparison.picture import side_by_side
from kennel.data.images import ImageSource, PixelArray, read_rows
from kennel.errors import RunError
from kennel.evaluation.judge import Evaluator
from kennel.evaluation.metrics.base import METRICS
from kennel.evaluation.metrics.context import MetricSettings
from kennel.evaluation.score import Score
from kennel.features.extract import choose_rows
from kennel.images import save_png
from kennel.reporting.plots import COLORS, DARK, GRAY, new_figure, style_axes
from kennel.sampling.loaded_generator import LoadedGenerator
from kennel.sampling.png_metadata import grid_text
from kennel.storage.atomic_io import atomic_file

DARKEST, BRIGHTEST = 2, 253
"""A pixel value at most or at least this is saturated: within 1% of the range's end."""
PANEL_WIDTH, PANEL_HEIGHT, ACROSS = 3.6, 2.7, 3
"""Inches of a chart, and charts in a row."""


@dataclass(frozen=True)
class TruncationScores:
    """The measurements at one `threshold`, None without truncation.

    `distance` is the mean distance of a sample to its nearest other sample, in pixel values of [-1, 1];
    `saturated` the share of pixel values of at most 2 or at least 253.
    """

    threshold: float | None
    scores: tuple[Score, ...]
    distance: float
    saturated: float
    grid: PixelArray

    @property
    def title(self) -> str:
        return "not truncated" if self.threshold is None else f"truncated at {self.threshold:g}"

    def to_json(self) -> dict[str, Any]:
        """All measurements except the images."""
        return {
            "threshold": self.threshold,
            "scores": [score.model_dump(mode="json") for score in self.scores],
            "nearest_distance": self.distance,
            "saturated": self.saturated,
        }


def parse_thresholds(text: str) -> list[float | None]:
    """Parses `2,1.5,none` to thresholds, "none" for no truncation. Raises `RunError`."""
    found: list[float | None] = []
    for word in (part.strip() for part in text.split(",")):
        try:
            value = None if word == "none" else float(word)
        except ValueError:
            raise RunError(
                f"--truncation is '{text}': give thresholds above 0, such as 0.8 or none,2,1,0.5"
            ) from None
        if value in found:
            raise RunError(f"--truncation is '{text}', with {word} twice: give different thresholds")
        found.append(value)
    return found


def evaluate_thresholds(
    loaded: LoadedGenerator,
    thresholds: Sequence[float | None],
    evaluator: Evaluator,
    *,
    metrics: Sequence[str] | None = None,
    count: int,
    shown: int = 16,
    settings: MetricSettings,
    on_progress: Callable[[str], Callable[[int, int], None]],
) -> list[TruncationScores]:
    """Judges `count` samples at each threshold, all of the seeds from `settings.seed` on.

    Raises `RunError` where the generator's latents cannot be truncated, or "none" is asked of a file that
    truncates by default.
    """
    if None in thresholds and loaded.truncation is not None:
        raise RunError(
            f"{loaded.name} truncates at {loaded.truncation:g} by default: give numbers in place of none"
        )
    # First of all: a threshold that cannot be sampled is refused before minutes of judging.
    grids = [loaded.samples(shown, settings.seed, threshold).pixels() for threshold in thresholds]
    found = []
    for threshold, grid in zip(thresholds, grids, strict=True):
        images = loaded.sampled_set(count, settings.seed, threshold)
        label = "none" if threshold is None else f"{threshold:g}"
        scores = evaluator.judge(
            images, metrics, count=count, settings=settings, on_progress=on_progress(f"truncation {label}")
        )
        measured = min(count, MAX_DISTANCE_IMAGES)
        found.append(
            TruncationScores(
                threshold,
                tuple(scores),
                mean_nearest_distance(images, measured, settings.seed),
                saturated_share(images, measured, settings.seed),
                grid,
            )
        )
    return found


def saturated_share(images: ImageSource, count: int, seed: int) -> float:
    """The share of saturated pixel values among `count` images drawn by `seed`."""
    rows = choose_rows(len(images), count, seed)
    pixels = read_rows(images, np.arange(count) if rows is None else rows)
    return float(((pixels <= DARKEST) | (pixels >= BRIGHTEST)).mean())


def write_samples(
    destination: Path, found: Sequence[TruncationScores], loaded: LoadedGenerator, first_seed: int
) -> None:
    """Writes the grids under their thresholds; equal positions have equal seeds."""
    picture = side_by_side([one.grid for one in found], [one.title for one in found])
    seeds = range(first_seed, first_seed + len(found[0].grid))
    text = grid_text(loaded.fingerprint, loaded.images_seen, seeds, loaded.teacher)
    text["kennel:truncation"] = ", ".join(one.title for one in found)
    destination.parent.mkdir(parents=True, exist_ok=True)
    save_png(destination, picture, text)


def draw_curves(destination: Path, found: Sequence[TruncationScores]) -> None:
    """Draws every metric, the distance and the saturation over the threshold, as a PNG.

    With FID and the Inception Score there is one more chart, of one over the other, as figure 2 of Brock et
    al. 2019.
    """
    panels: list[tuple[str, list[float]]] = [
        (_title(score.metric), [one.scores[place].value for one in found])
        for place, score in enumerate(found[0].scores)
    ]
    panels.append(("Distance to the nearest sample", [one.distance for one in found]))
    panels.append(("Saturated pixel values", [one.saturated for one in found]))
    by_metric = {score.metric: values for score, (_, values) in zip(found[0].scores, panels, strict=False)}
    both = {"fid", "inception_score"} <= set(by_metric)
    total = len(panels) + both
    rows = -(-total // ACROSS)
    canvas = new_figure(
        (ACROSS * PANEL_WIDTH, rows * PANEL_HEIGHT), ConstrainedLayoutEngine(w_pad=0.14, h_pad=0.12)
    )
    for place, (title, values) in enumerate(panels):
        axes = canvas.add_subplot(rows, ACROSS, place + 1)
        style_axes(axes, title, 8, 9)
        axes.plot(range(len(found)), values, color=COLORS[0], linewidth=1.8, marker="o", markersize=4)
        axes.set_ylim(0, max(values) * 1.08 or 1)
        _label_thresholds(axes, found)
    if both:
        axes = canvas.add_subplot(rows, ACROSS, total)
        style_axes(axes, "FID against Inception Score", 8, 9)
        axes.set_xlabel(METRICS["inception_score"].label, fontsize=9, color=GRAY)
        axes.plot(*(by_metric[name] for name in ("inception_score", "fid")), "o-", color=COLORS[1])
        for one, x, y in zip(found, by_metric["inception_score"], by_metric["fid"], strict=True):
            label = "none" if one.threshold is None else f"{one.threshold:g}"
            axes.annotate(label, (x, y), (4, 4), textcoords="offset points", fontsize=8.5, color=DARK)
    with atomic_file(destination) as temporary:
        canvas.savefig(temporary, format="png")


def _title(metric: str) -> str:
    direction = METRICS[metric].direction
    return METRICS[metric].label + ("" if direction == "neither" else f", {direction} is better")


def _label_thresholds(axes: Axes, found: Sequence[TruncationScores]) -> None:
    labels = ["none" if one.threshold is None else f"{one.threshold:g}" for one in found]
    axes.xaxis.set_major_locator(FixedLocator(list(range(len(found)))))
    axes.xaxis.set_major_formatter(FixedFormatter(labels))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("truncation threshold", fontsize=9, color=GRAY)
