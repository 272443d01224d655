"""Figures of a packed set: image grids, aspect ratios, class sizes, dropped images."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kennel.data.dataset import ImageDataset
from kennel.data.images import PixelArray
from kennel.data.shuffle import TABLE_IMAGES
from kennel.images import save_png, tile
from kennel.storage.atomic_io import atomic_file

_INK, _PALE, _STRONG = "#33373d", "#b9c4d0", "#2f6f9f"


def quartiles(counts: list[int]) -> tuple[float, ...]:
    """Minimum, 25%, 50%, 75% and maximum, interpolated linearly between neighbors."""
    return tuple(float(value) for value in np.percentile(counts, (0, 25, 50, 75, 100)))


def random_images(dataset: ImageDataset, count: int, seed: int = 0) -> PixelArray:
    """`count` images, or all if there are fewer, drawn without repetition: uint8 (count, C, H, W)."""
    draw = np.random.default_rng(seed)
    if len(dataset) <= TABLE_IMAGES:
        chosen = draw.permutation(len(dataset))[:count]
    else:  # a permutation of tens of millions of indices takes too much memory
        chosen = draw.choice(len(dataset), min(count, len(dataset)), replace=False, shuffle=False)
    return np.stack([dataset.images[index] for index in chosen])


def write_figures(dataset: ImageDataset, folder: Path, seed: int = 0) -> list[Path]:
    """Writes `grid_3x3.png`, `grid_10x10.png`, `aspect_ratios.png`, `classes.png` (if there are classes) and
    `dropped.png` (if images were dropped) into `folder`; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for side, least in ((3, 128), (10, 64)):
        images = random_images(dataset, side * side, seed)
        path = folder / f"grid_{side}x{side}.png"
        title = f"{len(images)} random images of {dataset.name}"
        texts = {"Title": title, "Dataset fingerprint": dataset.fingerprint}
        save_png(path, tile(images, columns=side, least_side=least), texts)
        written.append(path)
    report = dataset.about.get("report", {})
    if "aspect" in report:
        written.append(_aspect_figure(report["aspect"], folder / "aspect_ratios.png"))
    if dataset.classes:
        written.append(_class_figure(dataset, folder / "classes.png"))
    if report.get("dropped"):
        written.append(_drop_figure(report, folder / "dropped.png"))
    return written


def _aspect_figure(aspect: dict[str, list[float]], path: Path) -> Path:
    edges, before, after = (np.asarray(aspect[key]) for key in ("edges", "before", "after"))
    filled = np.flatnonzero(before)
    # An empty bin on each side; a ratio of 1 is always shown.
    low = max(0, min(int(filled.min(initial=20)), 16) - 2)
    high = min(len(before), max(int(filled.max(initial=20)), 24) + 3)
    figure, axes = _figure(3.8)
    width = edges[1] - edges[0]
    for counts, color, word in ((before, _PALE, "before"), (after, _STRONG, "after")):
        axes.bar(
            edges[low:high],
            counts[low:high],
            width=width * 0.92,
            align="edge",
            color=color,
            label=f"{word} cleaning: {int(counts.sum()):,}",
        )
    axes.set_xlim(edges[low], edges[high])
    axes.set_xlabel("aspect ratio, width / height" + (" (4 and wider in the last bar)" if high == 80 else ""))
    axes.set_ylabel("images")
    axes.set_title("Aspect ratios before and after cleaning")
    axes.legend(frameon=False)
    return _save(figure, path)


def _class_figure(dataset: ImageDataset, path: Path) -> Path:
    counts = np.sort(np.asarray(dataset.about["class_counts"]))[::-1]
    _, lower, median, upper, _ = quartiles(counts.tolist())
    figure, axes = _figure(3.8)
    axes.bar(np.arange(1, len(counts) + 1), counts, width=0.9, color=_STRONG)
    for value, word in ((lower, "25%"), (median, "50%"), (upper, "75%")):
        axes.axhline(value, color=_INK, linewidth=0.8, linestyle=":")
        axes.annotate(
            f"{word}: {value:g}",
            (1, value),
            xycoords=("axes fraction", "data"),
            xytext=(-4, 2),
            textcoords="offset points",
            ha="right",
            va="bottom",
            fontsize=8,
            color=_INK,
        )
        if lower == upper:
            break
    axes.set_xlim(0.4, len(counts) + 0.6)
    axes.set_xlabel("classes, largest first")
    axes.set_ylabel("images")
    axes.set_title(f"{len(dataset):,} images in {len(counts):,} classes")
    axes.xaxis.get_major_locator().set_params(integer=True)
    return _save(figure, path)


def _drop_figure(report: dict[str, Any], path: Path) -> Path:
    rows = [("kept", report["kept"]), *report["dropped"].items()][::-1]
    names = [name for name, _ in rows]
    counts: npt.NDArray[np.int64] = np.array([count for _, count in rows], np.int64)
    figure, axes = _figure(1.2 + 0.36 * len(rows))
    colors = [_STRONG if name == "kept" else _PALE for name in names]
    bars = axes.barh(names, counts, color=colors, height=0.72)
    axes.bar_label(
        bars, [f"{count:,}  ({count / report['seen']:.1%})" for count in counts], padding=4, color=_INK
    )
    axes.set_xlim(0, int(counts.max()) * 1.22)
    axes.xaxis.set_visible(False)
    axes.spines["bottom"].set_visible(False)
    axes.tick_params(left=False)
    axes.set_title(f"What became of {report['seen']:,} images")
    return _save(figure, path)


def _figure(height: float) -> tuple[Any, Any]:
    """A figure that needs no display and shares no state with the caller's pyplot."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(colors=_INK)
    axes.set_axisbelow(True)
    return figure, axes


def _save(figure: Any, path: Path) -> Path:
    with atomic_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=144)
    return path
