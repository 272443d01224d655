"""Draws the pictures of judgements: suspected copies next to their originals, distances and curves."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from kennel import __version__
from kennel.data.images import PixelArray, read_rows
from kennel.evaluation.metrics.builtin.memorization import SUSPICION
from kennel.evaluation.metrics.context import MetricContext
from kennel.evaluation.metrics.mifid import sampled_distances_within
from kennel.evaluation.metrics.near_copies import Suspect, has_pixels, suspects
from kennel.evaluation.score import Score
from kennel.features.moments import Float64Array
from kennel.reporting.copied_pairs import PAIRS_TEXT
from kennel.reporting.format import figure
from kennel.reporting.plots import COLORS, DARK, DOTS_PER_INCH, GRAY, LIGHT, new_figure, style_axes
from kennel.reporting.score_plot_names import DRAWN_FROM, pictures_of
from kennel.storage.atomic_io import atomic_file

ROWS, COMPARED = 12, 64
"""Suspicious images shown; images compared by pixels if only MiFID was judged."""
MAX_REFERENCE = 5_000
"""Reference images whose distances are drawn, unless they were measured for all."""
BINS = 48
MAX_CLASSES = 60
CELL, GAP, TEXT_WIDTH = 1.0, 0.24, 2.3
"""Inches of an image's side, of the space above it, and of the column of text."""
LINES = ("solid", (0, (5, 2)), (0, (1.5, 1.5)))


def draw_judging(
    context: MetricContext,
    judgements: Sequence[Score],
    folder: Path,
    prefix: str = "",
    text: Mapping[str, str] | None = None,
) -> list[Path]:
    """Draws every picture of these judgements as `folder/prefixNAME.png` and returns their paths.

    Files are written atomically; `text` becomes PNG text of pictures that show images. The memorisation
    picture needs images; it is left out if there are only features.
    """
    by_metric = {judgement.metric: judgement for judgement in judgements}
    drawn = []
    for name in pictures_of(by_metric):
        if name == "memorisation" and not has_pixels(context):
            continue
        file = folder / f"{prefix}{name}.png"
        judgement = next(by_metric[metric] for metric in DRAWN_FROM[name] if metric in by_metric)
        match name:
            case "memorisation":
                count = None if "memorisation" in by_metric else COMPARED
                draw_memorisation(context, file, count, text)
            case "distances":
                draw_distances(context, file)
            case "precision_recall":
                draw_precision_recall(judgement, file)
            case "fid_by_class":
                draw_fid_by_class(judgement, file)
        drawn.append(file)
    return drawn


def draw_memorisation(
    context: MetricContext, destination: Path, count: int | None = None, text: Mapping[str, str] | None = None
) -> list[Suspect]:
    """Draws the most suspicious images, one per row, next to their nearest reference images; returns them.

    Each reference image is labeled with its cosine distance; originals of copies, confirmed by pixels, have
    a frame. `count` is passed to `suspects`. The PNG's text has the places of the pairs, for the page.
    """
    found = suspects(context, count)
    shown = found[:ROWS]
    assert context.images.source is not None
    assert context.reference.source is not None
    images = read_rows(context.images.source, np.array([one.image for one in shown], np.int64))
    wanted = [row for one in shown for row in one.references]
    references = read_rows(context.reference.source, np.array(wanted, np.int64))
    across, height = len(shown[0].references), CELL + GAP
    width = (across + 1) * (CELL + 0.08) + 0.2 + TEXT_WIDTH
    total_height = len(shown) * height + 1.0
    canvas = new_figure((width, total_height))
    axes = canvas.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    pairs = []
    for row, one in enumerate(shown):
        top = 1.0 + row * height
        _draw_image(axes, images[row], 0.1, top)
        axes.text(0.1, top - 0.04, f"image {one.image}", fontsize=8, color=DARK)
        for place, distance in enumerate(one.distances):
            left = 0.3 + (place + 1) * (CELL + 0.08)
            _draw_image(axes, references[row * across + place], left, top)
            copied = one.copied and one.references[place] == one.reference
            axes.text(left, top - 0.04, f"{distance:.3f}", fontsize=8, **_emphasis(copied))
            if copied:
                frame = Rectangle((left, top), CELL, CELL, fill=False, edgecolor=COLORS[1], linewidth=2.5)
                axes.add_patch(frame)
        pairs.append(_pair(one, images[row].shape, top))
        left = 0.42 + (across + 1) * (CELL + 0.08)
        axes.text(left, top + CELL / 2, _verdict(one), fontsize=9, va="center", **_emphasis(one.copied))
    title = f"The most suspicious of {len(context.images):,} images, and the nearest training images"
    axes.text(0.1, 0.32, title, fontsize=12, fontweight="bold", color=DARK)
    axes.text(0.1, 0.42, _counts(context, found), fontsize=9, color=GRAY, va="top")
    axes.set_xlim(0, width)
    axes.set_ylim(total_height, 0)
    _save(canvas, destination, {**(text or {}), PAIRS_TEXT: json.dumps(pairs)})
    return shown


def _pair(one: Suspect, shape: Sequence[int], top: float) -> dict[str, Any]:
    """An image and its nearest reference, or the one it copies, with their places in the picture in pixels:
    (left, upper, right, lower)."""
    place = one.references.index(one.reference)
    longest = max(shape[1:])
    sides = [CELL * shape[2] / longest, CELL * shape[1] / longest]

    def box(left: float) -> list[int]:
        return [round(DOTS_PER_INCH * end) for end in (left, top, left + sides[0], top + sides[1])]

    return {
        "image": one.image,
        "reference": one.reference,
        "distance": one.distances[place],
        "verdict": one.verdict,
        "copied": one.copied,
        "image_box": box(0.1),
        "reference_box": box(0.3 + (place + 1) * (CELL + 0.08)),
    }


def _emphasis(copied: bool) -> dict[str, Any]:
    return {"color": COLORS[1] if copied else GRAY, "fontweight": "bold" if copied else "normal"}


def _draw_image(axes: Axes, image: PixelArray, left: float, top: float) -> None:
    """Draws an image (C, H, W) of any shape in a square cell."""
    _, height, width = image.shape
    longest = max(height, width)
    across, down = CELL * width / longest, CELL * height / longest
    axes.imshow(
        image.transpose(1, 2, 0) if len(image) == 3 else image[0],
        extent=(left, left + across, top + down, top),
        interpolation="nearest",
        cmap="gray",
        vmin=0,
        vmax=255,
        aspect="auto",
    )


def _verdict(one: Suspect) -> str:
    assert one.alignment is not None
    first, *changes = one.verdict.split(", ", 1)
    ratio = f"ratio {one.ratio:.2f}"
    measured = f"{ratio}, RMS {one.alignment.rms:.1f}" if one.copied else ratio
    return "\n".join([first, *changes, measured])


def _counts(context: MetricContext, found: Sequence[Suspect]) -> str:
    compared = sum(one.alignment is not None for one in found)
    copies = sum(one.copied for one in found)
    return (
        f"The nearest of {len(context.reference):,} training images by {context.extractor} features, with "
        f"their cosine distances.\nOf the {compared:,} images compared by pixels, {copies:,} "
        f"{'is a copy' if copies == 1 else 'are copies'}."
    )


def draw_distances(context: MetricContext, destination: Path) -> None:
    """Draws histograms of the cosine distance to the nearest reference image: of judged images, of held-out
    real images if given, of reference images to the others; and the threshold of suspicion."""
    if "reference_distances" in vars(context):  # already measured, for all images
        own = context.reference_distances
    else:
        settings = context.settings
        own = sampled_distances_within(
            context.reference.features, MAX_REFERENCE, settings.seed, settings.device
        )
    held_out = context.held_out_distances
    series: dict[str, tuple[Float64Array, str, Any]] = {
        "judged images": (context.nearest.distances, COLORS[0], LINES[0])
    }
    if held_out is not None:
        series["held-out real images"] = (held_out, COLORS[2], LINES[1])
    series["training images to the others"] = (own, COLORS[1], LINES[2])
    threshold = float(np.quantile(own if held_out is None else held_out, SUSPICION))
    largest = max(float(np.quantile(values, 0.999)) for values, _, _ in series.values())
    edges = np.linspace(0, max(largest, threshold) * 1.02 or 1.0, BINS + 1)

    def draw(axes: Axes) -> None:
        for name, (values, color, line) in series.items():
            counts = np.histogram(np.minimum(values, edges[-1]), edges)[0] / len(values)
            text = f"{name}: {len(values):,}, median {figure(float(np.median(values)))}"
            axes.stairs(counts, edges, color=color, linewidth=1.8, linestyle=line, label=text, zorder=3)
            axes.stairs(counts, edges, color=color, alpha=0.12, fill=True, zorder=2)
        real = "training" if held_out is None else "held-out"
        text = f"1% of {real} images are nearer than {figure(threshold)}"
        axes.axvline(threshold, color=DARK, linewidth=1.2, linestyle=(0, (4, 3)), label=text, zorder=4)
        axes.set_xlim(0, edges[-1])
        axes.set_ylim(0, None)
        axes.yaxis.set_major_formatter(lambda value, place: f"{100 * value:.3g}%")
        axes.set_xlabel(f"cosine distance to the nearest training image, {context.extractor} features")
        axes.set_ylabel("share of the images")
        # Above the axes, so that it covers no curve.
        place: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderaxespad": 0.2}
        axes.legend(frameon=False, fontsize=9.5, labelcolor=DARK, **place)

    pad = 12 + 16 * (len(series) + 1)
    _one_panel("Distance to the nearest training image", draw, destination, (5.6, 4.6), pad)


def draw_precision_recall(judgement: Score, destination: Path) -> None:
    """Draws the precision-recall curve of a PRD judgement (Sajjadi et al. 2018)."""
    curve, details = judgement.details["curve"], judgement.details

    def draw(axes: Axes) -> None:
        label = f"these images, maximum F1 {details['f1']:.3f}"
        axes.plot(curve["recall"], curve["precision"], color=COLORS[0], linewidth=2, label=label, zorder=3)
        axes.fill_between(curve["recall"], curve["precision"], color=COLORS[0], alpha=0.12, zorder=2)
        equal: dict[str, Any] = {"color": GRAY, "linewidth": 1.0, "linestyle": LINES[1], "clip_on": False}
        axes.plot([0, 1, 1], [1, 1, 0], label="equal distributions", **equal)
        axes.legend(frameon=False, fontsize=9, labelcolor=DARK, loc="lower left")
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        axes.set_aspect("equal")
        axes.set_xlabel("recall: share of the reference that is covered")
        axes.set_ylabel("precision: share of these images that is realistic")

    _one_panel("Precision and recall (PRD)", draw, destination, (4.8, 4.9))


def draw_fid_by_class(judgement: Score, destination: Path) -> None:
    """Draws a bar for the FID of each class, the worst first, and their mean; at most the 60 worst."""
    classes = sorted(judgement.details["classes"], key=lambda one: one["fid"], reverse=True)
    shown = classes[:MAX_CLASSES]

    def draw(axes: Axes) -> None:
        axes.barh([one["class"] for one in shown], [one["fid"] for one in shown], color=COLORS[0], zorder=3)
        for place, one in enumerate(shown):
            axes.annotate(
                figure(one["fid"]),
                (one["fid"], place),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
                color=GRAY,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.2},  # hides the mean's line
                zorder=5,
            )
        mean = figure(judgement.value)
        axes.axvline(judgement.value, color=COLORS[1], linewidth=1.5, label=f"mean {mean}", zorder=4)
        axes.set_ylim(len(shown) - 0.4, -0.6)
        axes.margins(x=0.12)
        axes.grid(visible=False, axis="y")
        axes.grid(axis="x", color=LIGHT, linewidth=0.9)
        axes.set_xlabel("FID within the class (lower is better)")
        axes.legend(frameon=False, fontsize=9, labelcolor=DARK, loc="lower left", bbox_to_anchor=(-0.01, 1.0))

    title = "FID by class"
    if len(classes) > len(shown):
        title += f", {len(shown)} worst of {len(classes)}"
    _one_panel(title, draw, destination, (6.5, 1.45 + 0.24 * len(shown)), pad=28)


def _one_panel(
    title: str, draw: Callable[[Axes], None], destination: Path, size: tuple[float, float], pad: int = 12
) -> None:
    """Draws one pair of axes; `size` in inches, `pad` is the distance of the title in points."""
    canvas = new_figure(size, "constrained")
    axes = canvas.add_subplot()
    style_axes(axes, title, pad, labelsize=9.5)
    draw(axes)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set_fontsize(10)
        label.set_color(GRAY)
    _save(canvas, destination)


def _save(canvas: Figure, destination: Path, text: Mapping[str, str] | None = None) -> None:
    metadata = {"Software": f"kennel {__version__}", **(text or {})}
    with atomic_file(destination) as temporary:
        canvas.savefig(temporary, format="png", metadata=metadata)
