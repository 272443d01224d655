"""Writes the report of a run: one HTML page without scripts or external files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from kennel.config.recipe import Recipe
from kennel.engine.observer import VALIDATIONS_SINCE_BEST
from kennel.errors import RunError
from kennel.features.related_extractors import unfair
from kennel.reporting.facts import facts_of
from kennel.reporting.format import class_name, label
from kennel.reporting.headline import commands, headline
from kennel.reporting.judged import judged
from kennel.reporting.layer_names import layer_names, networks_without_weights
from kennel.reporting.panels import Panel, draw_curves, marks_of, panels_of
from kennel.reporting.pictures import MAX_EMBEDDED, SMALL_SIDE, Embedded, PictureBudget
from kennel.reporting.run_charts import DrawnChart, alarm_lines, alarm_list, panel_charts, spectra_charts
from kennel.reporting.run_files import Link, link_groups, link_to
from kennel.reporting.score_tables import judgement_tables
from kennel.reporting.spectra_plot import NETWORKS, draw_spectra
from kennel.reporting.templates import render
from kennel.runs.run_dir import RunDir
from kennel.storage.atomic_io import write_text

STRIP_LENGTH = 11
"""Snapshots in the page: the first grid, the newest, and some in between."""
STRIP_BYTES = 2_000_000
"""Of all snapshots but the newest."""
GRID_COLUMNS, GRID_GAP = 8, 2
"""Of a run's own grids; a conditional run has a row per class."""
CHEAP_BYTES = 8_000_000
"""Of the grids in the page, up to which it is written during the training."""


@dataclass(frozen=True)
class Snapshot:
    """A grid of one count of images, with a link to its file."""

    images: int
    grid: Embedded
    link: Link


def write_report(folder: RunDir) -> Path:
    """Draws `curves.png` and `spectra.png`, writes `report.html` into the run's folder and returns its path.

    Log, grids and judgements may be missing. Raises `RunError` if `folder` is not a run.
    """
    about, log = folder.about(), folder.log()
    marks = marks_of(folder.alarms())
    draw_curves(log, folder.curves, _set_size(folder, about), marks)
    draw_spectra(folder.spectra(), folder.spectra_picture, marks)
    return write_page(folder)


def write_page(folder: RunDir, networks: Mapping[str, nn.Module] | None = None) -> Path:
    """Writes `report.html` alone, without the figures, which take seconds; returns its path.

    `networks` by name ("generator", "discriminator") name the layers of the spectra; without them they are
    built from the recipe. Raises `RunError` if `folder` is not a run.
    """
    recipe, about, log = folder.recipe(), folder.about(), folder.log()
    set_size, classes = _set_size(folder, about), about["data"]["classes"]
    budget, grids = PictureBudget(), progress_grids(folder)
    snapshots = _snapshots(folder, grids, budget)
    tables, unreadable = judgement_tables(folder.judgements)
    alarms = folder.alarms()
    panels, lines = panels_of(log), alarm_lines(alarms)
    status, is_over = _status(recipe, set_size, log)
    doubt = unfair(recipe.validation.extractor, about.get("teacher")) or ""
    page = render(
        "reporting/run.html.jinja",
        recipe=recipe,
        status=status,
        score=headline(folder, recipe, log, tables, doubt),
        commands=commands(folder, about, is_over, tables),
        facts=facts_of(folder, recipe, about, log),
        classes=[(number, class_name(name), name) for number, name in enumerate(classes)],
        snapshots=snapshots,
        rows=_class_rows(recipe, classes, snapshots),
        is_small=(recipe.image.size or 0) < SMALL_SIDE,
        charts=panel_charts(panels, lines),
        epoch=set_size,
        reading=_reading(panels, recipe, doubt if tables else ""),
        spectra=_spectra(folder, recipe, about, networks, lines),
        alarms=alarm_list(alarms),
        judged=judged(folder, tables, classes, budget),
        unreadable=unreadable,
        files=link_groups(folder, grids, about),
        recipe_yaml=recipe.to_yaml(),
    )
    write_text(folder.report, page)
    return folder.report


def is_cheap(folder: RunDir) -> bool:
    """Whether the page is written in less than a second: its grids are light."""
    return sum(file.stat().st_size for file in _shown(progress_grids(folder))) <= CHEAP_BYTES


def progress_grids(folder: RunDir) -> list[Path]:
    """Returns the grids of the fixed latents, oldest first: PNGs named by a number of images."""
    grids = [
        file
        for file in folder.samples.glob("*.png")
        if file.stem.isdecimal() and len(file.stem) <= 18 and not file.is_symlink() and file.is_file()
    ]
    return sorted(grids, key=lambda file: int(file.stem))


def _set_size(folder: RunDir, about: Mapping[str, Any]) -> int:
    set_size: int | None = about["data"].get("count")
    if set_size is None:
        raise RunError(f"{folder.about_file} does not have the number of images: restore it from a copy")
    return set_size


def _shown(grids: Sequence[Path]) -> list[Path]:
    """The first grid, the newest, and some in between at equal steps."""
    last = len(grids) - 1
    places = {round(step * last / (STRIP_LENGTH - 1)) for step in range(STRIP_LENGTH)} if grids else set()
    return [grids[place] for place in sorted(places)]


def _snapshots(folder: RunDir, grids: Sequence[Path], budget: PictureBudget) -> list[Snapshot]:
    """The shown grids, oldest first; the newest is as good as the page allows."""
    shown = _shown(grids)
    share = STRIP_BYTES // max(1, len(shown) - 1)
    found = []
    for file in reversed(shown):
        grid = budget.embed(file, MAX_EMBEDDED if file == shown[-1] else share)
        if grid is not None:
            found.append(Snapshot(int(file.stem), grid, link_to(folder, file, "full size")))
    return found[::-1]


def _class_rows(
    recipe: Recipe, classes: Sequence[str], snapshots: Sequence[Snapshot]
) -> list[tuple[int, str]]:
    """Number and name of each row's class in a conditional run's grid, of which the shape gives the rows."""
    if not recipe.num_classes or not snapshots:
        return []
    grid = snapshots[-1].grid
    side = (grid.width - GRID_GAP) / GRID_COLUMNS
    rows = round((grid.height - GRID_GAP) / side)
    if not 1 <= rows <= min(len(classes), recipe.num_classes):
        return []
    return [(number, class_name(name)) for number, name in enumerate(classes[:rows])]


def _spectra(
    folder: RunDir,
    recipe: Recipe,
    about: Mapping[str, Any],
    networks: Mapping[str, nn.Module] | None,
    lines: Sequence[Any],
) -> list[DrawnChart]:
    spectra = folder.spectra()
    layers = {name: [*spectra[-1].get(name, ())] for name in NETWORKS} if spectra else {}
    if not layers:
        return []
    if networks is None:
        networks = networks_without_weights(recipe, about.get("teacher"))
    return spectra_charts(spectra, layer_names(networks, layers), lines)


def _status(recipe: Recipe, set_size: int, log: Sequence[dict[str, Any]]) -> tuple[str, bool]:
    """How far the run is, and whether it is over."""
    total = recipe.budget.in_images(set_size)
    budget = f"{total:,} images ({total / set_size:,.1f} epochs)"
    if not log:
        return f"Started; nothing is logged yet. Budget: {budget}.", False
    seen = int(log[-1]["images"])
    if seen >= total:
        return f"Finished: {seen:,} images shown of a budget of {budget}.", True
    patience, since = recipe.validation.patience, log[-1].get(VALIDATIONS_SINCE_BEST, 0)
    if patience is not None and since >= patience:
        stopped = (
            f"Stopped early at {seen:,} images of a budget of {budget}: {label(recipe.validation.metric)} "
            f"had not improved for {since} validation{'' if since == 1 else 's'}."
        )
        return stopped, True
    return f"At {seen:,} images, {seen / total:.0%} of a budget of {budget}.", False


def _reading(panels: Sequence[Panel], recipe: Recipe, doubt: str) -> list[str]:
    """What to know about the curves, in sentences."""
    sentences = []
    validation = recipe.validation
    if any(panel.kind == "metric" for panel in panels):
        sentences.append(
            f"Validation compares {validation.num_samples:,} samples with the training set, with the "
            f"extractor “{validation.extractor}”. Compare its values only with each other, not with "
            "judgements under another protocol."
        )
        if doubt:
            sentences.append(f"Validation is biased: {doubt}")
    if any(panel.kind == "probability" for panel in panels):
        sentences.append(
            "If D(x) and D(G(z)) are close, the discriminator cannot distinguish real from generated images. "
            "If D(x) is near 1 and D(G(z)) near 0, it distinguishes them easily, and the generator gets "
            "little information from its gradient."
        )
    return sentences
