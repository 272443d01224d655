"""`kennel data prepare`, `kennel data show`, `kennel data list`."""

import shlex
from functools import partial
from pathlib import Path
from typing import Any

import typer

from kennel.cli.commands import Command, new_app
from kennel.errors import DataError

app = new_app(name="data", help="Prepare image collections, look at them, and list the ones known by name.")

_EDGE_ROWS = 5
_image = partial(typer.Option, rich_help_panel="Size, crop and color")
_choice = partial(typer.Option, rich_help_panel="Which images are kept")
_set = partial(typer.Option, rich_help_panel="Classes, splits and known sets")


@app.command(cls=Command)
def prepare(
    source: str = typer.Argument(
        metavar="SOURCE", help="A folder, zip or tar of images, idx files, or a known set's name."
    ),
    destination: Path | None = typer.Argument(None, metavar="DEST", help="The packed set to make."),
    size: int | None = _image(None, help="Side in pixels (64; idx, CIFAR-10, digits: their own)."),
    any_size: bool = _image(
        False, "--any-size", help="Also a --size that only fully connected networks take."
    ),
    crop: str | None = _image(None, help="none or box: crop to annotated boxes (stanford_dogs: box)."),
    boxes: str = _image("first", help="first or all: which boxes of an image."),
    center_crop: int | None = _image(None, help="Cut out the center square of this many pixels first."),
    aspect: str | None = _choice(None, help="Keep width/height within, as 0.8:1.25 (inclusive)."),
    min_side: int | None = _choice(
        None, help="Least shorter side of the crop, in pixels of the source (half of --size)."
    ),
    fit: str = _image("crop", help="crop, squash or pad: how an image becomes square."),
    resample: str = _image("lanczos", help="lanczos, bicubic, bilinear, box or nearest."),
    color: str = _image("auto", help="auto, rgb or gray."),
    limit: int | None = _choice(None, help="Keep this many images, drawn at random by --seed."),
    seed: int = _choice(0, help="Draws the images that --limit keeps."),
    split: str | None = _set(None, help="train, val, test or all, where a set has parts (train)."),
    labels: str = _set("auto", help="auto, folders, none, or a CSV of names and labels."),
    levels: str | None = _image(None, "--range", help="0:4095: black and white of 12 or 16 bits."),
    background: str = _image("white", help="white, black, #rrggbb: behind transparent images."),
    attribute: str | None = _set(None, help="celeba: two classes, without and with it: Smiling."),
    category: str | None = _set(None, help="lsun: church_outdoor,bridge (all that are there)."),
    subset: str | None = _set(None, help="imagenet: what lies below dogs,cats,... in WordNet (all)."),
    classes: str = _set("synset", help="imagenet: a class per synset, or per name of the subset."),
    class_count: int | None = _set(None, help="imagenet: keep so many synsets, drawn by --seed."),
    exclude: list[str] = _choice([], help="Leave this image out (repeatable); @FILE: a name a line."),
    duplicates: bool | None = _choice(
        None,
        "--keep-duplicates/--drop-duplicates",
        help="Images of equal pixels (dropped; idx, CIFAR-10, digits: kept).",
    ),
    max_bad: str = _choice("5%", help="Stop where more of the files than this are broken."),
    max_pixels: int | None = _choice(None, help="Refuse larger images unread (178,956,970)."),
    from_folder: Path | None = _set(None, "--from", help="Where a known set's files are at hand."),
    workers: int | None = typer.Option(None, help="Threads (one per core); changes no result."),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace a packed set at DEST."),
    dry_run: bool = typer.Option(False, "--dry-run", help="Only say what would be kept and dropped."),
) -> None:
    """Clean and pack images for training: SOURCE in, the packed set DEST out.

    Example: kennel data prepare photos/ sets/mine --size 64
    """
    import time

    from kennel.cli.console import console, error_console, progress_bar
    from kennel.data.prepare.pipeline import dry_run as look_only
    from kennel.data.prepare.pipeline import prepare as prepare_set
    from kennel.data.set_checks import shortage
    from kennel.data.sources.decode import MAX_PIXELS
    from kennel.data.sources.options import (
        PrepareOptions,
        parse_aspect,
        parse_color,
        parse_levels,
        parse_names,
        parse_share,
    )

    options = PrepareOptions(
        size=size,
        crop=crop,
        boxes=boxes,
        aspect=parse_aspect(aspect) if aspect else None,
        center_crop=center_crop,
        min_side=min_side,
        fit=fit,
        resample=resample,
        color=_color_word(color),
        limit=limit,
        seed=seed,
        split=split,
        labels=labels,
        levels=parse_levels(levels) if levels else None,
        background=parse_color(background),
        attribute=attribute,
        category=parse_names(category),
        subset=parse_names(subset),
        classes=classes,
        class_count=class_count,
        exclude=_names(exclude),
        keep_duplicates=duplicates,
        max_bad=parse_share(max_bad),
        max_pixels=MAX_PIXELS if max_pixels is None else max_pixels,
        workers=workers,
    )
    if size is not None and not any_size and (few := _few_draw(size)):
        raise DataError(
            f"--size is {few}, or add --any-size where the set is for such a one or for judging alone"
        )
    _fetch_first(source, from_folder)
    start = time.monotonic()
    if dry_run:
        with progress_bar("looking") as report:
            found = look_only(source, options, report, from_folder=from_folder)
        console.print(f"{source}: a rehearsal, nothing is written", soft_wrap=True)
        _print_report(found)
        console.print("Damage behind a good header and duplicates show only when images are decoded.")
        return
    if destination is None:
        raise DataError("DEST is missing: name the folder to make (only --dry-run needs none)")
    with progress_bar("preparing") as report:
        dataset = prepare_set(
            source, destination, options, report, from_folder=from_folder, overwrite=overwrite
        )
    seconds = time.monotonic() - start
    about = dataset.about
    channels, height, width = dataset.shape
    _print_report(about["report"])
    if size is None and (few := _few_draw(width)):
        error_console.print(f"Note: the images' own side is {few} as --size to train others", soft_wrap=True)
    console.print(
        f"{destination}: {len(dataset):,} images of {width}x{height} {'gray' if channels == 1 else 'RGB'}"
        f"{f' in {len(dataset.classes):,} classes' if dataset.classes else ''}, "
        f"{about['report']['images'] / max(seconds, 1e-9):,.0f} images/s, {seconds:.1f} s",
        soft_wrap=True,
    )
    if short := shortage(dataset):
        error_console.print(f"Note: {destination}: {short}", soft_wrap=True)
    console.print(f"fingerprint {dataset.fingerprint}")
    console.print(f"see it with: kennel data show {shlex.quote(str(destination))}", soft_wrap=True)


@app.command(cls=Command)
def show(
    destination: Path = typer.Argument(metavar="DEST", help="A packed set."),
    out: Path | None = typer.Option(None, help="Where the pictures go (DEST/show)."),
    all_classes: bool = typer.Option(
        False, "--all-classes", help="List every class, not only the first and last."
    ),
    seed: int = typer.Option(0, help="Draws the images of the grids."),
) -> None:
    """Show a packed set: classes, quartiles, what was dropped; grids and histograms as PNGs.

    Example: kennel data show sets/mine
    """
    from rich.table import Table

    from kennel.cli.console import console
    from kennel.data.dataset import ImageDataset
    from kennel.data.describe import quartiles, write_figures

    dataset = ImageDataset(destination)
    channels, height, width = dataset.shape
    color = "gray" if channels == 1 else "RGB"
    console.print(f"{destination}: {len(dataset):,} images of {width}x{height} {color}", soft_wrap=True)
    console.print(f"fingerprint {dataset.fingerprint}")
    counts = dataset.about.get("class_counts", [])
    if dataset.classes:
        table = Table("", "class", "images", title=f"{len(dataset.classes):,} classes", title_justify="left")
        table.columns[0].justify = table.columns[2].justify = "right"
        for index, (name, count) in enumerate(zip(dataset.classes, counts, strict=True)):
            if all_classes or index < _EDGE_ROWS or index >= len(counts) - _EDGE_ROWS:
                table.add_row(str(index), name, f"{count:,}")
            elif index == _EDGE_ROWS:
                table.add_row("…", "…", "…")
        console.print(table)
        words = zip(("min", "25%", "50%", "75%", "max"), quartiles(counts), strict=True)
        console.print("images in a class: " + ", ".join(f"{word} {value:g}" for word, value in words))
    if "report" in dataset.about:
        _print_report(dataset.about["report"])
    written = write_figures(dataset, out or destination / "show", seed)
    for path in written:
        console.print(f"wrote {path}", soft_wrap=True)


@app.command("list", cls=Command)
def list_sets() -> None:
    """List the collections that are known by name, and where they would be taken from.

    Example: kennel data list
    """
    from rich.table import Table

    from kennel.cli.console import console
    from kennel.data.sources.catalog import KNOWN_SETS
    from kennel.storage.cache import cache_folder

    table = Table(show_lines=True)
    table.add_column("name", no_wrap=True, style="bold")
    table.add_column("what, on which terms, taken from where", overflow="fold")
    for name in KNOWN_SETS:
        known = KNOWN_SETS[name]
        place = "embedded, no download"
        if known.by_hand:
            place = f"fetched by hand from {known.home}, then --from FOLDER"
        elif known.files:
            cached = all((cache_folder() / name / file.name).is_file() for file in known.files)
            address = known.files[0].addresses[0].rpartition("/")[0] + "/"
            place = f"the cache ({cache_folder() / name})" if cached else address
        classes = f"{known.classes} classes" if isinstance(known.classes, int) else known.classes
        table.add_row(
            name,
            f"{known.title}\n{known.images} images, {known.pixels}, {classes}\n{known.terms}\n{place}",
        )
    console.print(table)
    console.print("kennel data prepare NAME DEST, with --from FOLDER where the files are at hand")


def _fetch_first(source: str, from_folder: Path | None) -> None:
    """Downloads what a known set needs, with a bar of its own."""
    from kennel.cli.console import progress_bar
    from kennel.data.sources.catalog import KNOWN_SETS, fetch

    if source in KNOWN_SETS and from_folder is None and KNOWN_SETS[source].files:
        with progress_bar(f"downloading {source} (bytes)") as report:
            fetch(KNOWN_SETS[source], None, report)


def _few_draw(side: int) -> str:
    """That only networks of any size draw this side, with the nearest sides that others draw; else empty."""
    from kennel.networks import GENERATORS  # it takes a second or two to import torch

    sides = sorted({of_one for _, network in GENERATORS.items() for of_one in network.sizes})
    if side in sides:
        return ""
    of_any = ", ".join(name for name, network in GENERATORS.items() if not network.sizes)
    below, above = [one for one in sides if one < side][-1:], [one for one in sides if one > side][:1]
    nearest = " or ".join(map(str, below + above))
    return f"{side}, which no network draws but those of any size ({of_any}): give {nearest}"


def _color_word(color: str) -> str:
    """The word for `--color` that `dataset.json` records."""
    words = {"auto": "auto", "rgb": "rgb", "gray": "grey"}
    if color not in words:
        raise DataError(f"--color is '{color}': it can be auto, rgb or gray")
    return words[color]


def _names(given: list[str]) -> tuple[str, ...]:
    names: list[str] = []
    for name in given:
        if not name.startswith("@"):
            names.append(name)
            continue
        try:
            lines = Path(name[1:]).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(
                f"--exclude {name} cannot be read ({error}): give a text file of names"
            ) from error
        names += [line.strip() for line in lines if line.strip()]
    return tuple(names)


def _print_report(report: dict[str, Any]) -> None:
    from rich.table import Table

    from kennel.cli.console import console, error_console

    table = Table("images", "", "such as", title_justify="left")
    table.columns[0].justify = "right"
    table.add_row(f"{report['seen']:,}", "seen", "")
    table.add_row(f"{report['kept']:,}", "kept", "", style="bold")
    for reason, count in report["dropped"].items():
        example = report["examples"][reason][0]
        text = f"{example['name']} ({example['detail']})" if example["detail"] else example["name"]
        table.add_row(f"{count:,}", reason, text)
    console.print(table)
    for note in report["notes"]:
        error_console.print(f"Note: {note}", soft_wrap=True)
