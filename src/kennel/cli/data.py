"""`kennel data prepare`, `kennel data show`, `kennel data export`, `kennel data list`."""

import shlex
from functools import partial
from pathlib import Path
from typing import Any

import typer

from kennel.cli.commands import Command, new_app
from kennel.errors import DataError

app = new_app(
    name="data", help="Prepare image collections, show and export packed sets, and list the known sets."
)

_EDGE_ROWS = 5
_image = partial(typer.Option, rich_help_panel="Size, crop and color")
_choice = partial(typer.Option, rich_help_panel="Which images are kept")
_set = partial(typer.Option, rich_help_panel="Classes, splits and known sets")


@app.command(cls=Command)
def prepare(
    source: str = typer.Argument(
        metavar="SOURCE", help="A folder, zip or tar of images, idx files, or the name of a known set."
    ),
    destination: Path | None = typer.Argument(None, metavar="DEST", help="The packed set to create."),
    size: int | None = _image(None, help="Side in pixels (64; idx, CIFAR-10, digits: as they are)."),
    any_size: bool = _image(
        False, "--any-size", help="Accept a --size that only fully connected networks support."
    ),
    crop: str | None = _image(None, help="none or box: crop to annotated boxes (stanford_dogs: box)."),
    boxes: str = _image("first", help="first or all: the boxes to use of each image."),
    center_crop: int | None = _image(None, help="First crop the center square of this many pixels."),
    aspect: str | None = _choice(
        None, help="Keep images whose width/height is in this range, such as 0.8:1.25 (inclusive)."
    ),
    min_side: int | None = _choice(
        None, help="Minimum of the crop's shorter side, in source pixels (half of --size)."
    ),
    fit: str = _image("crop", help="crop, squash or pad: how to make an image square."),
    resample: str = _image("lanczos", help="lanczos, bicubic, bilinear, box or nearest."),
    color: str = _image("auto", help="auto, rgb or gray."),
    limit: int | None = _choice(None, help="Keep this many images, drawn at random by --seed."),
    seed: int = _choice(0, help="Seed of --limit and --class-count."),
    split: str | None = _set(None, help="train, val, test or all, for sets with splits (train)."),
    labels: str = _set("auto", help="auto, folders, none, or a CSV of names and labels."),
    levels: str | None = _image(
        None, "--range", help="Values of black and white, such as 0:4095, for 12- and 16-bit images."
    ),
    background: str = _image("white", help="white, black or #rrggbb: color behind transparent images."),
    attribute: str | None = _set(
        None, help="celeba: two classes, without and with this attribute, such as Smiling."
    ),
    category: str | None = _set(
        None, help="lsun: categories, such as church_outdoor,bridge (all that are there)."
    ),
    subset: str | None = _set(None, help="imagenet: synsets below dogs,cats,... in WordNet (all)."),
    classes: str = _set("synset", help="imagenet: one class per synset, or per name of the subset."),
    class_count: int | None = _set(None, help="imagenet: keep this many synsets, drawn by --seed."),
    exclude: list[str] = _choice([], help="Exclude this image (repeatable); @FILE: one name per line."),
    duplicates: bool | None = _choice(
        None,
        "--keep-duplicates/--drop-duplicates",
        help="Images of equal pixels (dropped; idx, CIFAR-10, digits: kept).",
    ),
    max_bad: str = _choice("5%", help="Stop if more of the files than this are broken."),
    max_pixels: int | None = _choice(None, help="Refuse larger images without decoding (178,956,970)."),
    from_folder: Path | None = _set(None, "--from", help="A folder with a known set's files."),
    workers: int | None = typer.Option(None, help="Threads (one per core); does not change results."),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace the packed set at DEST."),
    dry_run: bool = typer.Option(False, "--dry-run", help="Only report what would be kept and dropped."),
) -> None:
    """Clean and pack images for training: SOURCE in, the packed set DEST out.

    Example: kennel data prepare photos/ sets/mine --size 64
    """
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
    if size is not None and not any_size and (problem := _size_problem(size)):
        raise DataError(f"--size is {problem}, or add --any-size for such a network or for judging alone")
    _fetch(source, from_folder)
    if dry_run:
        _print_dry_run(source, options, from_folder)
    elif destination is None:
        raise DataError("DEST is missing: name the folder to create (only --dry-run needs none)")
    else:
        _prepare(source, destination, options, from_folder, overwrite)


def _print_dry_run(source: str, options: Any, from_folder: Path | None) -> None:
    from kennel.cli.console import console, progress_bar
    from kennel.data.prepare.pipeline import dry_run

    with progress_bar("reading headers") as report:
        found = dry_run(source, options, report, from_folder=from_folder)
    console.message(f"{source}: a dry run, nothing is written")
    _print_report(found)
    console.print("Duplicates, and damage behind an intact header, are found only when images are decoded.")


def _prepare(source: str, destination: Path, options: Any, from_folder: Path | None, overwrite: bool) -> None:
    """Packs the set and prints what was kept, the speed, and notes."""
    import time

    from kennel.cli.console import console, error_console, progress_bar
    from kennel.data.prepare.pipeline import prepare as prepare_set
    from kennel.data.set_checks import shortage

    start = time.monotonic()
    with progress_bar("preparing") as report:
        dataset = prepare_set(
            source, destination, options, report, from_folder=from_folder, overwrite=overwrite
        )
    seconds = time.monotonic() - start
    about = dataset.about
    _print_report(about["report"])
    if options.size is None and (problem := _size_problem(dataset.shape[2])):
        error_console.message(f"Note: the images' own side is {problem} as --size to train others")
    classes = f" in {len(dataset.classes):,} classes" if dataset.classes else ""
    speed = about["report"]["images"] / max(seconds, 1e-9)
    console.message(f"{destination}: {_contents(dataset)}{classes}, {speed:,.0f} images/s, {seconds:.1f} s")
    if note := shortage(dataset):
        error_console.message(f"Note: {destination}: {note}")
    console.print(f"fingerprint {dataset.fingerprint}")
    console.message(f"see it with: kennel data show {shlex.quote(str(destination))}")


def _contents(dataset: Any) -> str:
    """Describes a packed set: `1,797 images of 16x16 gray`."""
    channels, height, width = dataset.shape
    return f"{len(dataset):,} images of {width}x{height} {'gray' if channels == 1 else 'RGB'}"


@app.command(cls=Command)
def show(
    destination: Path = typer.Argument(metavar="DEST", help="A packed set."),
    out: Path | None = typer.Option(None, help="Folder of the pictures (DEST/show)."),
    all_classes: bool = typer.Option(
        False, "--all-classes", help="List every class, not only the first and last."
    ),
    seed: int = typer.Option(0, help="Seed that draws the images of the grids."),
) -> None:
    """Show a packed set: classes, quartiles and dropped images; write grids and histograms as PNGs.

    Example: kennel data show sets/mine
    """
    from rich.table import Table

    from kennel.cli.console import console
    from kennel.data.dataset import ImageDataset
    from kennel.data.describe import quartiles, write_figures

    dataset = ImageDataset(destination)
    console.message(f"{destination}: {_contents(dataset)}")
    console.print(f"fingerprint {dataset.fingerprint}")
    drawn = dataset.about.get("generated")
    if drawn:
        generator = f"{drawn['generator']}, first seed {drawn.get('seed', '?')}"
        text = f"{drawn['count']:,} of the images are generated ({generator}): see generated.npy"
        console.message(text, "yellow")
    counts = dataset.about.get("class_counts", [])
    if dataset.classes:
        columns = ["", "class", "images", *["generated"] * bool(drawn)]
        table = Table(*columns, title=f"{len(dataset.classes):,} classes", title_justify="left")
        for column in (0, *range(2, len(columns))):
            table.columns[column].justify = "right"
        for index, (name, count) in enumerate(zip(dataset.classes, counts, strict=True)):
            if all_classes or index < _EDGE_ROWS or index >= len(counts) - _EDGE_ROWS:
                own = [f"{drawn['class_counts'][index]:,}"] if drawn else []
                table.add_row(str(index), name, f"{count:,}", *own)
            elif index == _EDGE_ROWS:
                table.add_row(*["…"] * len(columns))
        console.print(table)
        words = zip(("min", "25%", "50%", "75%", "max"), quartiles(counts), strict=True)
        console.print("images per class: " + ", ".join(f"{word} {value:g}" for word, value in words))
    if "report" in dataset.about:
        _print_report(dataset.about["report"])
    for path in write_figures(dataset, out or destination / "show", seed):
        console.message(f"wrote {path}")


@app.command(cls=Command)
def export(
    data: Path = typer.Argument(metavar="DATA", help="A packed set."),
    destination: Path = typer.Argument(metavar="DEST", help="The folder to create, one in it per class."),
) -> None:
    """Write a packed set as a folder of PNGs; the names of generated images begin with "generated".

    Example: kennel data export sets/mine folder
    """
    from kennel.cli.console import console, progress_bar
    from kennel.data.dataset import ImageDataset
    from kennel.data.prepare.from_set import export as write_folder

    dataset = ImageDataset(data)
    with progress_bar("exporting") as report:
        count = write_folder(dataset, destination, report)
    drawn = f", {dataset.generated_count:,} of them generated-*.png" if dataset.generated_count else ""
    console.message(f"{destination}: {count:,} PNGs{drawn}")


@app.command("list", cls=Command)
def list_sets() -> None:
    """List the known sets and their sources.

    Example: kennel data list
    """
    from kennel.cli.console import console, print_list
    from kennel.data.sources.catalog import KNOWN_SETS
    from kennel.storage.cache import cache_folder

    rows = []
    for name in KNOWN_SETS:
        known = KNOWN_SETS[name]
        place = "included, no download"
        if known.by_hand:
            place = f"download it from {known.home}, then give --from FOLDER"
        elif known.files:
            cached = all((cache_folder() / name / file.name).is_file() for file in known.files)
            address = known.files[0].addresses[0].rpartition("/")[0] + "/"
            place = f"the cache ({cache_folder() / name})" if cached else address
        classes = f"{known.classes} classes" if isinstance(known.classes, int) else known.classes
        text = f"{known.title}\n{known.images} images, {known.pixels}, {classes}\n{known.terms}\n{place}"
        rows.append((name, text))
    print_list(("name", "contents, terms, source"), rows, lines=True)
    console.print("kennel data prepare NAME DEST; with --from FOLDER if you have the files")


def _fetch(source: str, from_folder: Path | None) -> None:
    from kennel.cli.console import progress_bar
    from kennel.data.sources.catalog import KNOWN_SETS, fetch

    if source in KNOWN_SETS and from_folder is None and KNOWN_SETS[source].files:
        with progress_bar(f"downloading {source} (bytes)") as report:
            fetch(KNOWN_SETS[source], None, report)


def _size_problem(side: int) -> str:
    """Says that only networks of any size support this side, and the nearest other sides; else empty."""
    from kennel.networks import GENERATORS  # imports torch, which takes a second or two

    sides = sorted({size for _, network in GENERATORS.items() for size in network.sizes})
    if side in sides:
        return ""
    any_size = ", ".join(name for name, network in GENERATORS.items() if not network.sizes)
    below, above = [one for one in sides if one < side][-1:], [one for one in sides if one > side][:1]
    nearest = " or ".join(map(str, below + above))
    return f"{side}, which only the networks of any size support ({any_size}): give {nearest}"


def _color_word(color: str) -> str:
    """Returns the word that `dataset.json` records for `--color`."""
    words = {"auto": "auto", "rgb": "rgb", "gray": "grey"}
    if color not in words:
        raise DataError(f"--color is '{color}': it can be auto, rgb or gray")
    return words[color]


def _names(exclude: list[str]) -> tuple[str, ...]:
    """Returns the names to exclude; `@FILE` stands for the lines of a file."""
    names: list[str] = []
    for name in exclude:
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
        error_console.message(f"Note: {note}")
