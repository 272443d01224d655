"""A judgement as pictures: suspicious images beside what they may be copies of, and the curves of scores."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
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
from kennel.reporting.format import figure
from kennel.reporting.plots import COLOURS, DOTS_PER_INCH, FAINT, INK, SOFT
from kennel.reporting.score_plot_names import DRAWN_FROM, pictures_of
from kennel.storage.atomic_io import atomic_file

ROWS, LOOKED_AT = 12, 64
"""Suspicious images that are shown; how many are compared by pixels where only MiFID was judged."""
OF_THE_REFERENCE = 5_000
"""Reference images whose distance to the others is drawn, where it was not measured for all."""
BINS = 48
CLASSES_SHOWN = 60
CELL, GAP, WORDS = 1.0, 0.24, 2.3
"""Inches of a picture's side, of the room above it, and of the column of words."""
LINES = ("solid", (0, (5, 2)), (0, (1.5, 1.5)))


def draw_judging(
    context: MetricContext,
    judgements: Sequence[Score],
    folder: Path,
    prefix: str = "",
    text: Mapping[str, str] | None = None,
) -> list[Path]:
    """Draws every picture that these judgements have as `folder/prefixNAME.png`, and returns their paths.

    Each is written atomically; `text` becomes PNG text of those that show images. The memorisation picture
    needs the images themselves, and is left out where only features are at hand.
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
                count = None if "memorisation" in by_metric else LOOKED_AT
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
    context: MetricContext,
    destination: Path,
    count: int | None = None,
    text: Mapping[str, str] | None = None,
) -> list[Suspect]:
    """The most suspicious images, a row each, beside their nearest reference images; returns those shown.

    Above each reference image stands its cosine distance; the one that the pixels show to be copied has a
    frame. `count` is passed to `suspects`.
    """
    found = suspects(context, count)
    shown = found[:ROWS]
    assert context.images.source is not None
    assert context.reference.source is not None
    images = read_rows(context.images.source, np.array([one.image for one in shown], np.int64))
    wanted = [row for one in shown for row in one.references]
    references = read_rows(context.reference.source, np.array(wanted, np.int64))
    across, height = len(shown[0].references), CELL + GAP
    width = (across + 1) * (CELL + 0.08) + 0.2 + WORDS
    paper = Figure(figsize=(width, len(shown) * height + 1.0), dpi=DOTS_PER_INCH, facecolor="white")
    FigureCanvasAgg(paper)
    axes = paper.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    paper_height = len(shown) * height + 1.0
    for row, one in enumerate(shown):
        top = 1.0 + row * height
        _picture(axes, images[row], 0.1, top)
        axes.text(0.1, top - 0.04, f"image {one.image}", fontsize=8, color=INK)
        for place, distance in enumerate(one.distances):
            left = 0.3 + (place + 1) * (CELL + 0.08)
            _picture(axes, references[row * across + place], left, top)
            copied = one.copied and one.references[place] == one.reference
            axes.text(
                left,
                top - 0.04,
                f"{distance:.3f}",
                fontsize=8,
                color=COLOURS[1] if copied else SOFT,
                fontweight="bold" if copied else "normal",
            )
            if copied:
                frame = Rectangle((left, top), CELL, CELL, fill=False, edgecolor=COLOURS[1], linewidth=2.5)
                axes.add_patch(frame)
        axes.text(
            0.42 + (across + 1) * (CELL + 0.08),
            top + CELL / 2,
            _verdict(one),
            fontsize=9,
            va="center",
            color=COLOURS[1] if one.copied else SOFT,
            fontweight="bold" if one.copied else "normal",
        )
    title = f"The most suspicious of {len(context.images):,} images, and the nearest training images"
    axes.text(0.1, 0.32, title, fontsize=12, fontweight="bold", color=INK)
    axes.text(0.1, 0.42, _counts(context, found), fontsize=9, color=SOFT, va="top")
    axes.set_xlim(0, width)
    axes.set_ylim(paper_height, 0)
    _save(paper, destination, text)
    return shown


def _picture(axes: Axes, image: PixelArray, left: float, top: float) -> None:
    """One image (C, H, W) of any shape within a square cell."""
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
        f"Of {len(context.reference):,} training images the nearest by {context.extractor} features, each "
        f"under its cosine distance.\nOf the {compared:,} images whose pixels were compared, {copies:,} "
        f"{'is a copy' if copies == 1 else 'are copies'}."
    )


def draw_distances(context: MetricContext, destination: Path) -> None:
    """Histograms of the cosine distance to the nearest reference image: of judged images, of held-out real
    ones where there are any, of the reference's own images to the others; and the threshold of suspicion."""
    if "reference_distances" in vars(context):  # measured already, for all
        own = context.reference_distances
    else:
        settings = context.settings
        own = sampled_distances_within(
            context.reference.features, OF_THE_REFERENCE, settings.seed, settings.device
        )
    series: dict[str, tuple[Float64Array, str, Any]] = {
        "judged images": (context.nearest.distances, COLOURS[0], LINES[0])
    }
    if context.held_out_distances is not None:
        series["held-out real images"] = (context.held_out_distances, COLOURS[2], LINES[1])
    series["training images to the others"] = (own, COLOURS[1], LINES[2])
    baseline = own if context.held_out_distances is None else context.held_out_distances
    threshold = float(np.quantile(baseline, SUSPICION))
    furthest = max(float(np.quantile(values, 0.999)) for values, _, _ in series.values())
    edges = np.linspace(0, max(furthest, threshold) * 1.02 or 1.0, BINS + 1)

    def draw(axes: Axes) -> None:
        for name, (values, colour, line) in series.items():
            counts = np.histogram(np.minimum(values, edges[-1]), edges)[0] / len(values)
            text = f"{name}: {len(values):,}, median {figure(float(np.median(values)))}"
            axes.stairs(counts, edges, color=colour, linewidth=1.8, linestyle=line, label=text, zorder=3)
            axes.stairs(counts, edges, color=colour, alpha=0.12, fill=True, zorder=2)
        real = "held-out" if context.held_out_distances is not None else "training"
        text = f"1% of {real} images are nearer than {figure(threshold)}"
        axes.axvline(threshold, color=INK, linewidth=1.2, linestyle=(0, (4, 3)), label=text, zorder=4)
        axes.set_xlim(0, edges[-1])
        axes.set_ylim(0, None)
        axes.yaxis.set_major_formatter(lambda value, place: f"{100 * value:.3g}%")
        axes.set_xlabel(f"cosine distance to the nearest training image, {context.extractor} features")
        axes.set_ylabel("share of the images")
        # Above the axes, where no curve can be.
        place: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderaxespad": 0.2}
        axes.legend(frameon=False, fontsize=9.5, labelcolor=INK, **place)

    room = 12 + 16 * (len(series) + 1)
    _one_panel("How near the training images are", draw, destination, (7.2, 4.9), room)


def draw_precision_recall(judgement: Score, destination: Path) -> None:
    """The curve of precision and recall over clusters (Sajjadi et al. 2018), from a PRD judgement."""
    curve, details = judgement.details["curve"], judgement.details

    def draw(axes: Axes) -> None:
        label = f"these images, greatest F1 {details['f1']:.3f}"
        axes.plot(curve["recall"], curve["precision"], color=COLOURS[0], linewidth=2, label=label, zorder=3)
        axes.fill_between(curve["recall"], curve["precision"], color=COLOURS[0], alpha=0.12, zorder=2)
        equal: dict[str, Any] = {"color": SOFT, "linewidth": 1.0, "linestyle": LINES[1], "clip_on": False}
        axes.plot([0, 1, 1], [1, 1, 0], label="equal distributions", **equal)
        axes.legend(frameon=False, fontsize=9, labelcolor=INK, loc="lower left")
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        axes.set_aspect("equal")
        axes.set_xlabel("recall: how much of the reference occurs")
        axes.set_ylabel("precision: how much is like the reference")

    _one_panel("Precision and recall (PRD)", draw, destination, (4.8, 4.9))


def draw_fid_by_class(judgement: Score, destination: Path) -> None:
    """A bar for each class's FID, the worst first, with their mean; the 60 worst where there are more."""
    classes = sorted(judgement.details["classes"], key=lambda one: one["fid"], reverse=True)
    shown = classes[:CLASSES_SHOWN]

    def draw(axes: Axes) -> None:
        axes.barh([one["class"] for one in shown], [one["fid"] for one in shown], color=COLOURS[0], zorder=3)
        for place, one in enumerate(shown):
            axes.annotate(
                figure(one["fid"]),
                (one["fid"], place),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
                color=SOFT,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.2},  # the mean's line may pass
                zorder=5,
            )
        mean = figure(judgement.value)
        axes.axvline(judgement.value, color=COLOURS[1], linewidth=1.5, label=f"mean {mean}", zorder=4)
        axes.set_ylim(len(shown) - 0.4, -0.6)
        axes.margins(x=0.12)
        axes.grid(visible=False, axis="y")
        axes.grid(axis="x", color=FAINT, linewidth=0.9)
        axes.set_xlabel("FID within the class (lower is better)")
        axes.legend(frameon=False, fontsize=9, labelcolor=INK, loc="lower left", bbox_to_anchor=(-0.01, 1.0))

    title = (
        f"FID by class, {len(shown)} worst of {len(classes)}" if len(classes) > len(shown) else "FID by class"
    )
    _one_panel(title, draw, destination, (6.5, 1.45 + 0.24 * len(shown)), room=28)


def _one_panel(
    title: str,
    draw: Callable[[Axes], None],
    destination: Path,
    size: tuple[float, float],
    room: int = 12,
) -> None:
    """One pair of axes in the house's style; `size` in inches, `room` points between them and the title."""
    paper = Figure(figsize=size, dpi=DOTS_PER_INCH, facecolor="white", layout="constrained")
    FigureCanvasAgg(paper)
    axes = paper.add_subplot()
    axes.set_title(title, loc="left", fontsize=12, fontweight="bold", color=INK, pad=room)
    axes.tick_params(which="both", colors=SOFT, labelsize=9.5, length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color("#b6bec8")
    axes.grid(axis="y", color=FAINT, linewidth=0.9)
    axes.set_axisbelow(True)
    draw(axes)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set_fontsize(10)
        label.set_color(SOFT)
    _save(paper, destination)


def _save(paper: Figure, destination: Path, text: Mapping[str, str] | None = None) -> None:
    with atomic_file(destination) as temporary:
        paper.savefig(temporary, format="png", metadata={"Software": f"kennel {__version__}", **(text or {})})
