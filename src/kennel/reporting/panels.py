"""Groups the values of a log into panels; `plots` draws them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from kennel.engine.observer import VALIDATIONS_SINCE_BEST
from kennel.evaluation.metrics.base import METRICS
from kennel.reporting.format import label, metric_direction

LOG_SCALE_FROM = 20.0
"""A metric whose values span more than this factor is drawn on a logarithmic axis."""

Kind = Literal["metric", "loss", "probability", "gradient", "speed", "other"]

_NOT_CURVES = ("images", "seconds", VALIDATIONS_SINCE_BEST)
_LINE_LABELS = {
    "discriminator_loss": "discriminator",
    "generator_loss": "generator",
    "adversarial_discriminator_loss": "discriminator without terms",
    "real_probability": "D(x), real images",
    "fake_probability": "D(G(z)), generated images",
    "discriminator_gradient_norm": "discriminator",
    "generator_gradient_norm": "generator",
}


@dataclass(frozen=True)
class Line:
    """A curve of values over images shown; `name` is the log's."""

    name: str
    label: str
    images: tuple[int, ...]
    values: tuple[float, ...]


@dataclass(frozen=True)
class Panel:
    """A pair of axes. `best` is the index of the best value of a metric's line; None if the metric has no
    direction, and for other panels."""

    kind: Kind
    title: str
    lines: tuple[Line, ...]
    best: int | None = None


@dataclass(frozen=True)
class Mark:
    """A vertical line in every panel for the alarms at this number of images."""

    images: int
    label: str


def marks_of(alarms: Sequence[Mapping[str, Any]]) -> tuple[Mark, ...]:
    """Returns marks for the alarms in `alarms.jsonl`, ordered by images; alarms at one point share a mark."""
    names: dict[int, list[str]] = {}
    for line in alarms:
        if "alarm" in line and line["alarm"] not in names.setdefault(int(line["images"]), []):
            names[int(line["images"])].append(str(line["alarm"]))
    return tuple(Mark(images, plain("\n".join(map(label, names[images])))) for images in sorted(names))


def draw_curves(
    log: Sequence[Mapping[str, Any]],
    destination: Path,
    set_size: int | None = None,
    marks: Sequence[Mark] = (),
) -> tuple[Panel, ...]:
    """Draws the log's curves as one PNG and returns its panels; writes no file if there are none.

    Validation metrics come first, with their best points marked, then losses, D(x) and D(G(z)), gradients,
    speed, and all other values. `set_size` adds an axis of epochs; `marks` are drawn in all panels.
    """
    panels = panels_of(log)
    if panels:
        from kennel.reporting.plots import draw  # imports matplotlib, which takes a second

        draw(panels, destination, set_size, marks)
    return panels


def panels_of(log: Sequence[Mapping[str, Any]]) -> tuple[Panel, ...]:
    """Returns the panels for which the log has data, in order."""
    lines = _lines(log)
    groups: dict[Kind, list[Line]] = {}
    for line in lines:
        groups.setdefault(_kind(line.name), []).append(line)
    panels = [_metric_panel(line) for line in groups.get("metric", [])]
    if losses := groups.get("loss"):
        panels.append(Panel("loss", "Losses", tuple(losses)))
    if probabilities := groups.get("probability"):
        panels.append(Panel("probability", "Discriminator's probability of real", tuple(probabilities)))
    if gradients := groups.get("gradient"):
        panels.append(Panel("gradient", "Gradient norms, log scale", tuple(gradients)))
    panels += [Panel("speed", "Speed, images per second", (line,)) for line in groups.get("speed", [])]
    panels += [
        Panel("other", line.label[0].upper() + line.label[1:], (line,)) for line in groups.get("other", [])
    ]
    return tuple(panels)


def plain(text: str) -> str:
    """Escapes dollar signs, which start math mode in matplotlib."""
    return text.replace("$", r"\$")


def best_place(name: str, values: Sequence[float]) -> int:
    """Returns the index of the best value of the metric `name`, the first of equal ones."""
    pick = max if metric_direction(name) > 0 else min
    return values.index(pick(values))


def _metric_panel(line: Line) -> Panel:
    direction = metric_direction(line.name)
    if not direction:
        return Panel("metric", f"Validation {line.label}", (line,))
    title = f"Validation {line.label} ({'higher' if direction > 0 else 'lower'} is better)"
    return Panel("metric", title, (line,), best_place(line.name, line.values))


def _kind(name: str) -> Kind:
    if name == "images_per_second":
        return "speed"
    if name in METRICS:
        return "metric"
    if name.endswith("_loss"):
        return "loss"
    if name.endswith("_gradient_norm"):
        return "gradient"
    return "probability" if name.endswith("_probability") else "other"


def _lines(log: Sequence[Mapping[str, Any]]) -> list[Line]:
    """Returns a curve per value of the log, in a fixed order; missing and non-finite values are skipped."""
    points: dict[str, list[tuple[int, float]]] = {}
    for entry in log:
        for name, value in entry.items():
            if name not in _NOT_CURVES and _is_number(value) and _is_number(entry.get("images")):
                points.setdefault(name, []).append((int(entry["images"]), float(value)))
    known = list(_LINE_LABELS)
    names = sorted(points, key=lambda name: known.index(name) if name in known else len(known))
    return [
        Line(name, _LINE_LABELS.get(name, plain(label(name))), *map(tuple, zip(*points[name], strict=True)))
        for name in names
    ]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
