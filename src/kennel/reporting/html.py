"""A run as one HTML page that needs nothing else: no network, no script, no file beside it."""

import base64
import io
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from PIL import Image

import kennel
from kennel.config.recipe import Recipe
from kennel.data.sources.decode import MAX_FILE_BYTES, decode, pillow_at_ease
from kennel.engine.observer import VALIDATIONS_SINCE_BEST
from kennel.errors import KennelError, RunError
from kennel.features.related_extractors import unfair
from kennel.images import png_text
from kennel.reporting.format import duration, figure, label, shape_in_words
from kennel.reporting.panels import Panel, draw_curves, marks_of
from kennel.reporting.score_tables import JudgingPicture, judgement_tables, judging_pictures
from kennel.reporting.spectra_plot import draw_spectra
from kennel.runs.run_dir import RunDir
from kennel.storage.atomic_io import write_text
from kennel.storage.untrusted import leads_out, read_bytes

EMBED_UP_TO = 1_500_000
"""Bytes of a picture that is embedded as it is; a larger one is scaled down, so that the page stays light."""
STRIP_LENGTH = 6
MAX_PAGE_PIXELS = 1 << 27
"""A run's own grids have a hundredth of it."""
CLASSES_NAMED = 12


@dataclass(frozen=True)
class Grid:
    """A progress grid: when it was drawn, its data: URI, and whether it was scaled down for the page."""

    images: int
    uri: str
    is_reduced: bool


@dataclass(frozen=True)
class Embedded:
    """A judgement's picture: its caption, its file's name, its data: URI, and whether it was scaled down."""

    caption: str
    file: str
    uri: str
    is_reduced: bool


def write_report(folder: RunDir) -> Path:
    """Draws `curves.png` and `spectra.png` anew and writes `report.html` into the run's folder.

    Returns the page's path.

    Raises `RunError` where `folder` is not a run. A run without a log, grids or judgements has a page too,
    which says what is not there yet.
    """
    recipe, about, log = folder.recipe(), folder.about(), folder.log()
    set_size = about["data"].get("count")
    if set_size is None:
        raise RunError(
            f"{folder.about_file} does not say how many images there were: bring it back from a copy"
        )
    alarms = folder.alarms()
    marks = marks_of(alarms)
    panels = draw_curves(log, folder.curves, set_size, marks)
    has_spectra = draw_spectra(folder.spectra(), folder.spectra_picture, marks)
    grids = _strip(progress_grids(folder))
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = files("kennel.reporting").joinpath("run.html.jinja").read_text(encoding="utf-8")
    tables, unreadable = judgement_tables(folder.judgements)
    page = environment.from_string(template).render(
        recipe=recipe,
        facts=_facts(folder, recipe, about, log),
        status=_status(recipe, set_size, log),
        newest=grids[-1] if grids else None,
        strip=grids if len(grids) > 1 else [],
        curves=data_uri(folder.curves.read_bytes()) if panels else None,
        reading=_reading(panels, recipe, about.get("teacher")),
        spectra=data_uri(folder.spectra_picture.read_bytes()) if has_spectra else None,
        alarms=[_alarm(line) for line in alarms],
        tables=tables,
        pictures=[
            [shown for picture in pictures if (shown := _embedded(picture)) is not None]
            for pictures in judging_pictures(folder.judgements, tables)
        ],
        unreadable=unreadable,
        commands=_commands(folder, about),
        recipe_yaml=recipe.to_yaml(),
        version=kennel.__version__,
    )
    write_text(folder.report, page)
    return folder.report


def progress_grids(folder: RunDir) -> list[Path]:
    """The grids of fixed latents, oldest first: those named by a count of images, and no others."""
    grids = [
        file
        for file in folder.samples.glob("*.png")
        if file.stem.isdecimal() and len(file.stem) <= 18 and not file.is_symlink() and file.is_file()
    ]
    return sorted(grids, key=lambda file: int(file.stem))


def data_uri(png: bytes) -> str:
    """A PNG inside a URL."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def _strip(files: Sequence[Path]) -> list[Grid]:
    """The first grid, the newest, and some between, evenly spaced."""
    last = len(files) - 1
    places = {round(step * last / (STRIP_LENGTH - 1)) for step in range(STRIP_LENGTH)} if files else set()
    grids = []
    for place in sorted(places):
        png = picture_in(files[place])
        if png is not None:
            light = lightened(png)
            grids.append(Grid(int(files[place].stem), data_uri(light), light is not png))
    return grids


def picture_in(file: Path) -> bytes | None:
    """A PNG's bytes; None for a link, and for what does not decode as a PNG.

    The page travels: a link in its folder would take along what it points to.
    """
    if file.is_symlink() or leads_out(file.parent):
        return None
    try:
        png = read_bytes(file, MAX_FILE_BYTES)
        if not png.startswith(b"\x89PNG\r\n\x1a\n"):
            return None
        decode(png, max_pixels=MAX_PAGE_PIXELS)
    except KennelError:
        return None
    return png


def _embedded(picture: JudgingPicture) -> Embedded | None:
    png = picture_in(picture.path)
    if png is None:
        return None
    light = lightened(png)
    return Embedded(picture.caption, picture.path.name, data_uri(light), light is not png)


def lightened(png: bytes, limit: int = EMBED_UP_TO) -> bytes:
    """The same PNG where it is light enough, else one scaled down below `limit` bytes; its text stays."""
    if len(png) <= limit:
        return png
    with pillow_at_ease(), Image.open(io.BytesIO(png), formats=["PNG"]) as picture:
        picture.load()
        # What the picture says of itself, that a GAN made it, goes where it goes.
        text = {str(name): str(value) for name, value in picture.info.items() if isinstance(value, str)}
        scale = (limit / len(png)) ** 0.5
        while True:
            side = (max(1, int(picture.width * scale)), max(1, int(picture.height * scale)))
            lighter = io.BytesIO()
            picture.resize(side, Image.Resampling.LANCZOS).save(lighter, "PNG", pnginfo=png_text(text))
            if lighter.tell() <= limit or side == (1, 1):
                return lighter.getvalue()
            scale *= 0.8


def _alarm(line: dict[str, Any]) -> tuple[str, str]:
    """A line of `alarms.jsonl`: its heading and what it says."""
    at = f"at {line['images']:,} images"
    if "rollback" in line:
        back = f"From there the run went back to {line['back_to']:,} images, with new draws."
        return f"Rollback {line['rollback']} {at}", back
    told = f"{line['saw'][0].upper()}{line['saw'][1:]}. It matters: {line['why']}. Try {line['try']}."
    return f"{label(line['alarm'])} {at}", told


def _facts(
    folder: RunDir, recipe: Recipe, about: dict[str, Any], log: Sequence[dict[str, Any]]
) -> list[tuple[str, str]]:
    data = about["data"]
    facts = [
        ("Data set", Path(data["path"]).name),
        ("Images", f"{data['count']:,}"),
        ("Shape", shape_in_words(data.get("shape"))),
        ("Classes", _classes(data.get("classes") or [])),
        ("Set's fingerprint", str(data["fingerprint"])),
        ("Run's fingerprint", folder.fingerprint()),
        ("Began with", _parent(about.get("parent"))),
        ("Taught by", _teacher(about.get("teacher"))),
        ("Networks", f"{recipe.generator.name} against {recipe.discriminator.name}"),
        ("Loss", recipe.loss.name),
        ("Batch", f"{recipe.batch_size:,}"),
        ("Seed", str(recipe.seed)),
    ]
    if log and (seconds := log[-1].get("seconds")):
        facts.append(("Training time", duration(seconds)))
        facts.append(("Speed", f"{log[-1]['images'] / seconds:,.1f} images/s on average"))
    versions = about.get("versions") or {}
    facts.append(("Versions", ", ".join(f"{name} {version}" for name, version in versions.items())))
    return [(name, value) for name, value in facts if value]


def _teacher(name: str | None) -> str:
    return f"{name}, a pretrained network that the discriminator looks through" if name else ""


def _parent(origin: dict[str, Any] | None) -> str:
    """The run whose weights this one began with, and how many of its tensors they are; empty for none."""
    if origin is None:
        return ""
    name, seen = Path(str(origin.get("path") or "?")).name, origin.get("images_seen")
    words = f"the weights of {name}" + ("" if seen is None else f" at {seen:,} images")
    if taken := origin.get("taken"):
        words += f": {taken[0]:,} of {taken[1]:,} tensors"
    if new := origin.get("new"):
        words += f"; newly initialized: {_some(new)}"
    return words


def _classes(classes: Sequence[str]) -> str:
    if not classes:
        return "none"
    return f"{len(classes)}: {_some(classes)}"


def _some(names: Sequence[str]) -> str:
    more = len(names) - CLASSES_NAMED
    return ", ".join(names[:CLASSES_NAMED]) + (f" and {more} more" if more > 0 else "")


def _status(recipe: Recipe, set_size: int, log: Sequence[dict[str, Any]]) -> str:
    total = recipe.budget.in_images(set_size)
    budget = f"{total:,} images ({total / set_size:,.1f} epochs)"
    if not log:
        return f"Begun; nothing is logged yet. Budget: {budget}."
    seen = int(log[-1]["images"])
    if seen >= total:
        return f"Finished: {seen:,} images shown of a budget of {budget}."
    patience, since = recipe.validation.patience, log[-1].get(VALIDATIONS_SINCE_BEST, 0)
    if patience is not None and since >= patience:
        return (
            f"Stopped early at {seen:,} images of a budget of {budget}: {label(recipe.validation.metric)} "
            f"had not improved for {since} validation{'' if since == 1 else 's'}."
        )
    return f"At {seen:,} images, {seen / total:.0%} of a budget of {budget}."


def _reading(panels: Sequence[Panel], recipe: Recipe, teacher: str | None) -> list[str]:
    """What the curves say, in sentences, for those who cannot see them too."""
    sentences = []
    validation = recipe.validation
    for panel in panels:
        line = panel.lines[0]
        if panel.best is not None:
            sentences.append(
                f"Best validation {label(line.name)}: {figure(line.values[panel.best])} at "
                f"{line.images[panel.best]:,} images; the newest is {figure(line.values[-1])}."
            )
    if any(panel.kind == "metric" for panel in panels):
        sentences.append(
            f"Validation compares {validation.num_samples:,} samples with the training set, extractor "
            f"“{validation.extractor}”: its values compare with one another, and not with judgements "
            "made under another protocol."
        )
        if doubt := unfair(validation.extractor, teacher):
            sentences.append(f"Validation is not quite fair: {doubt}")
    if any(panel.kind == "probability" for panel in panels):
        sentences.append(
            "D(x) and D(G(z)) close together: the discriminator cannot tell real from generated. D(x) near 1 "
            "and D(G(z)) near 0: it tells them apart with ease, and the generator learns little from it."
        )
    return sentences


def _commands(folder: RunDir, about: dict[str, Any]) -> list[tuple[str, str]]:
    run, recipe = shlex.quote(_shown(folder.path)), shlex.quote(_shown(folder.recipe_file))
    data = shlex.quote(_shown(Path(about["data"]["path"])))
    return [
        ("Go on where it stopped", f"kennel train {recipe} --data {data} --out {run}"),
        ("Draw new samples", f"kennel sample {run} --count 64 --seed 1000"),
        ("Judge it", f"kennel judge {run} --reference {data}"),
        ("Write this page anew", f"kennel report {run}"),
    ]


def _shown(path: Path) -> str:
    """Relative where it lies below the folder that we are in: a page that travels tells less of its home."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)
