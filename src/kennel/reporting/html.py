"""Writes the report of a run: one HTML page without scripts or external files."""

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
from kennel.reporting.score_tables import judgement_tables, judging_pictures
from kennel.reporting.spectra_plot import draw_spectra
from kennel.runs.run_dir import RunDir
from kennel.storage.atomic_io import write_text
from kennel.storage.untrusted import leads_out, read_bytes

MAX_EMBEDDED = 1_500_000
"""Bytes; larger pictures are scaled down in the page."""
STRIP_LENGTH = 6
MAX_PAGE_PIXELS = 1 << 27
"""Limit of a picture in the page; a run's own grids have about 1% of it."""
MAX_NAMES = 12


@dataclass(frozen=True)
class Embedded:
    """A PNG as a data URI; `is_reduced` if it was scaled down."""

    uri: str
    is_reduced: bool


def write_report(folder: RunDir) -> Path:
    """Draws `curves.png` and `spectra.png`, writes `report.html` into the run's folder and returns its path.

    Log, grids and judgements may be missing. Raises `RunError` if `folder` is not a run.
    """
    recipe, about, log = folder.recipe(), folder.about(), folder.log()
    set_size = about["data"].get("count")
    if set_size is None:
        raise RunError(f"{folder.about_file} does not have the number of images: restore it from a copy")
    alarms = folder.alarms()
    marks = marks_of(alarms)
    panels = draw_curves(log, folder.curves, set_size, marks)
    has_spectra = draw_spectra(folder.spectra(), folder.spectra_picture, marks)
    grids = _strip(progress_grids(folder))
    tables, unreadable = judgement_tables(folder.judgements)
    pictures = [
        [(picture, embedded) for picture in group if (embedded := _embed(picture.path)) is not None]
        for group in judging_pictures(folder.judgements, tables)
    ]
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = files("kennel.reporting").joinpath("run.html.jinja").read_text(encoding="utf-8")
    page = environment.from_string(template).render(
        recipe=recipe,
        facts=_facts(folder, recipe, about, log),
        status=_status(recipe, set_size, log),
        strip=grids,
        curves=data_uri(folder.curves.read_bytes()) if panels else None,
        reading=_reading(panels, recipe, about.get("teacher")),
        spectra=data_uri(folder.spectra_picture.read_bytes()) if has_spectra else None,
        alarms=[_alarm(line) for line in alarms],
        tables=tables,
        pictures=pictures,
        unreadable=unreadable,
        commands=_commands(folder, about),
        recipe_yaml=recipe.to_yaml(),
        version=kennel.__version__,
    )
    write_text(folder.report, page)
    return folder.report


def progress_grids(folder: RunDir) -> list[Path]:
    """Returns the grids of the fixed latents, oldest first: PNGs named by a number of images."""
    grids = [
        file
        for file in folder.samples.glob("*.png")
        if file.stem.isdecimal() and len(file.stem) <= 18 and not file.is_symlink() and file.is_file()
    ]
    return sorted(grids, key=lambda file: int(file.stem))


def data_uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def _strip(files: Sequence[Path]) -> list[tuple[int, Embedded]]:
    """Returns the first grid, the newest, and some in between at equal steps, with their images shown."""
    last = len(files) - 1
    places = {round(step * last / (STRIP_LENGTH - 1)) for step in range(STRIP_LENGTH)} if files else set()
    grids = ((int(files[place].stem), _embed(files[place])) for place in sorted(places))
    return [(images, grid) for images, grid in grids if grid is not None]


def _embed(file: Path) -> Embedded | None:
    """Reads a PNG; returns None for a link, which may lead out of the run's folder, or an invalid file."""
    if file.is_symlink() or leads_out(file.parent):
        return None
    try:
        png = read_bytes(file, MAX_FILE_BYTES)
        if not png.startswith(b"\x89PNG\r\n\x1a\n"):
            return None
        decode(png, max_pixels=MAX_PAGE_PIXELS)
    except KennelError:
        return None
    small = reduced(png)
    return Embedded(data_uri(small), small is not png)


def reduced(png: bytes, limit: int = MAX_EMBEDDED) -> bytes:
    """Returns the PNG, scaled down if it has more than `limit` bytes; its text is kept."""
    if len(png) <= limit:
        return png
    with pillow_at_ease(), Image.open(io.BytesIO(png), formats=["PNG"]) as picture:
        picture.load()
        text = {str(name): str(value) for name, value in picture.info.items() if isinstance(value, str)}
        scale = (limit / len(png)) ** 0.5
        while True:
            side = (max(1, int(picture.width * scale)), max(1, int(picture.height * scale)))
            smaller = io.BytesIO()
            picture.resize(side, Image.Resampling.LANCZOS).save(smaller, "PNG", pnginfo=png_text(text))
            if smaller.tell() <= limit or side == (1, 1):
                return smaller.getvalue()
            scale *= 0.8


def _alarm(line: dict[str, Any]) -> tuple[str, str]:
    """Returns heading and text of a line of `alarms.jsonl`."""
    at = f"at {line['images']:,} images"
    if "rollback" in line:
        text = f"The run went back to {line['back_to']:,} images and continued with other random draws."
        return f"Rollback {line['rollback']} {at}", text
    text = f"{line['saw'][0].upper()}{line['saw'][1:]}. It matters: {line['why']}. Try {line['try']}."
    return f"{label(line['alarm'])} {at}", text


def _facts(
    folder: RunDir, recipe: Recipe, about: dict[str, Any], log: Sequence[dict[str, Any]]
) -> list[tuple[str, str]]:
    data, teacher = about["data"], about.get("teacher")
    classes = data.get("classes") or []
    facts = [
        ("Data set", Path(data["path"]).name),
        ("Images", f"{data['count']:,}"),
        ("Shape", shape_in_words(data.get("shape"))),
        ("Classes", f"{len(classes)}: {_names(classes)}" if classes else "none"),
        ("Set's fingerprint", str(data["fingerprint"])),
        ("Run's fingerprint", folder.fingerprint()),
        ("Initial weights", _parent(about.get("parent"))),
        ("Pretrained network", f"{teacher}, used by the discriminator" if teacher else ""),
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


def _parent(origin: dict[str, Any] | None) -> str:
    """Describes the run whose weights this run started with, and which tensors were taken; "" for none."""
    if origin is None:
        return ""
    name, seen = Path(str(origin.get("path") or "?")).name, origin.get("images_seen")
    words = f"the weights of {name}" + ("" if seen is None else f" at {seen:,} images")
    if taken := origin.get("taken"):
        words += f": {taken[0]:,} of {taken[1]:,} tensors"
    if new := origin.get("new"):
        words += f"; newly initialized: {_names(new)}"
    return words


def _names(names: Sequence[str]) -> str:
    more = len(names) - MAX_NAMES
    return ", ".join(names[:MAX_NAMES]) + (f" and {more} more" if more > 0 else "")


def _status(recipe: Recipe, set_size: int, log: Sequence[dict[str, Any]]) -> str:
    total = recipe.budget.in_images(set_size)
    budget = f"{total:,} images ({total / set_size:,.1f} epochs)"
    if not log:
        return f"Started; nothing is logged yet. Budget: {budget}."
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
    """Describes the curves in sentences, also for readers who cannot see them."""
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
            f"Validation compares {validation.num_samples:,} samples with the training set, with the "
            f"extractor “{validation.extractor}”. Compare its values only with each other, not with "
            "judgements under another protocol."
        )
        if doubt := unfair(validation.extractor, teacher):
            sentences.append(f"Validation is biased: {doubt}")
    if any(panel.kind == "probability" for panel in panels):
        sentences.append(
            "If D(x) and D(G(z)) are close, the discriminator cannot distinguish real from generated images. "
            "If D(x) is near 1 and D(G(z)) near 0, it distinguishes them easily, and the generator gets "
            "little information from its gradient."
        )
    return sentences


def _commands(folder: RunDir, about: dict[str, Any]) -> list[tuple[str, str]]:
    run, recipe, data = (
        shlex.quote(_relative(path))
        for path in (folder.path, folder.recipe_file, Path(about["data"]["path"]))
    )
    return [
        ("Resume", f"kennel train {recipe} --data {data} --out {run}"),
        ("Draw new samples", f"kennel sample {run} --count 64 --seed 1000"),
        ("Judge", f"kennel judge {run} --reference {data}"),
        ("Write this page again", f"kennel report {run}"),
    ]


def _relative(path: Path) -> str:
    """Returns a path relative to the current folder if it is below it, so that the page shows less."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)
