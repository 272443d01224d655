"""What the log shows: which panels there are and what is in them. `drawing` puts them on paper."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from kennel.engine.observer import VALIDATIONS_SINCE_BEST
from kennel.evaluation.metrics.base import METRICS
from kennel.reporting.format import label, metric_direction

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
    """One curve: values against images shown, and the name that the log gives it."""

    name: str
    label: str
    images: tuple[int, ...]
    values: tuple[float, ...]


@dataclass(frozen=True)
class Panel:
    """One pair of axes. `best` is the place of the best value in the only line of a metric's panel; None
    for a metric of which neither more nor less is better."""

    kind: Kind
    title: str
    lines: tuple[Line, ...]
    best: int | None = None


@dataclass(frozen=True)
class Mark:
    """A vertical line through every panel: an alarm, or several, at so many images."""

    images: int
    label: str


def marks_of(alarms: Sequence[Mapping[str, Any]]) -> tuple[Mark, ...]:
    """The lines of `alarms.jsonl` that are alarms, in the order of images; equal places share a mark."""
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
    """Draws the log's curves as one PNG and returns its panels; with nothing to draw, none and no file.

    Validation metrics come first, each with its best point marked (the paper's Fig. 7), then both losses,
    D(x) and D(G(z)), gradients, speed, and whatever else the log holds. `set_size` adds an axis that counts
    epochs; `marks` are drawn through all of them.
    """
    panels = panels_of(log)
    if panels:
        # matplotlib takes a second to import: only where there is something to draw
        from kennel.reporting.plots import draw

        draw(panels, destination, set_size, marks)
    return panels


def panels_of(log: Sequence[Mapping[str, Any]]) -> tuple[Panel, ...]:
    """The panels that the log has data for, in the order in which they are read."""
    lines = _lines(log)
    groups: dict[Kind, list[Line]] = {}
    for line in lines:
        groups.setdefault(_kind(line.name), []).append(line)
    panels = [_metric_panel(line) for line in groups.get("metric", [])]
    if losses := groups.get("loss"):
        panels.append(Panel("loss", "Losses", tuple(losses)))
    if probabilities := groups.get("probability"):
        panels.append(
            Panel("probability", "How real the discriminator thinks they are", tuple(probabilities))
        )
    if gradients := groups.get("gradient"):
        panels.append(Panel("gradient", "Lengths of gradients, log scale", tuple(gradients)))
    panels += [Panel("speed", "Speed, images per second", (line,)) for line in groups.get("speed", [])]
    panels += [
        Panel("other", line.label[0].upper() + line.label[1:], (line,)) for line in groups.get("other", [])
    ]
    return tuple(panels)


def plain(text: str) -> str:
    """The text as matplotlib draws it letter by letter: between two dollars it would read mathematics."""
    return text.replace("$", r"\$")


def best_place(name: str, values: Sequence[float]) -> int:
    """Where the best value of the metric `name` stands; the first of equals."""
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
    """Each number's curve, in a fixed order; lines of the log without it, or where it is not finite, skip."""
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
