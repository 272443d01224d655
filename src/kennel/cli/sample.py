"""`kennel sample`: draw images from a generator, as a grid, a folder, a zip or an npz."""

from functools import partial
from pathlib import Path

import typer

from kennel.cli import options
from kennel.cli.newest import or_newest

_output = partial(typer.Option, rich_help_panel="Output")
_classes = partial(typer.Option, rich_help_panel="Classes")
_generator = partial(typer.Option, rich_help_panel="Generator")


def sample(
    run: Path | None = typer.Argument(
        None,
        metavar="RUN",
        help="A run's folder (default: the newest in runs/), a .safetensors file of `kennel export`, or a "
        "name of `kennel fetch`.",
    ),
    count: int | None = typer.Option(None, min=1, help="Number of images (default: 64)."),
    seed: int = typer.Option(0, min=0, help="The first seed; image i has seed SEED + i."),
    truncation: float | None = _generator(
        None,
        help="Redraw latent values beyond this threshold; with a mapping network, scale the distance from "
        "the mean style. Smaller values give typical, less varied images.",
    ),
    class_: str | None = _classes(None, "--class", help="Draw only this class, by name or number."),
    classes: options.Classes = None,
    per_class: int | None = _classes(
        None, min=1, help="Number of images of every class; the grid has one row per class."
    ),
    grid: Path | None = _output(None, help="Write all samples as one PNG."),
    columns: int | None = _output(None, min=1, help="Columns of the grid (default: as square as possible)."),
    out: Path | None = _output(None, help="Write the samples: a folder of PNGs, a .zip of them, or an .npz."),
    checkpoint: str = _generator("newest", help="newest, best, epoch:N, or a number of images."),
    playing: bool = _generator(
        False, "--playing", help="Use the trained weights instead of their average (EMA)."
    ),
    batch: int = _generator(64, min=1, help="Images per batch; does not change images."),
    device: str = _generator("auto", help="auto, cpu, cuda, cuda:1, mps."),
) -> None:
    """Draw images from a run or an exported generator. Each image depends only on its seed.

    Example: kennel sample --count 100 --grid grid.png
    """
    from kennel.cli.console import console, progress_bar
    from kennel.engine.builder import pick_device
    from kennel.errors import RunError
    from kennel.sampling.resolve import load_generator
    from kennel.sampling.sample_files import class_number, write_grid, write_samples
    from kennel.training.oom import explain_oom

    if columns is not None and per_class is not None:
        raise RunError("--per-class sets the columns, one row per class: leave --columns out")
    if columns is not None and grid is None and out is not None:
        raise RunError("--columns is for a grid, and --out writes images: give --grid too, or leave it out")
    run = or_newest(run)
    place = pick_device(device)
    loaded = load_generator(run, checkpoint, place, averaged=not playing)
    label = None if class_ is None else class_number(class_, loaded)
    if per_class is None:
        samples = loaded.samples(count or 64, seed, truncation, label, batch, options.class_sampling(classes))
    elif class_ is not None:
        raise RunError("--class draws one class and --per-class all of them: give one of the two")
    elif classes is not None:
        raise RunError("--classes draws a class per seed and --per-class all of them: give one of the two")
    elif count is not None:
        raise RunError("--count and --per-class both set the number of images: give one of the two")
    else:
        samples = loaded.samples_per_class(per_class, seed, truncation, batch)
    count = len(samples)
    if grid is None and out is None:
        last = seed + (per_class or count) - 1
        name = f"{'classes-' if per_class else ''}seeds{seed}-{last}.png"
        stem = run.name.removesuffix(".safetensors")  # `Path.stem` would cut a name that contains a dot
        grid = run / "samples" / name if (run / "recipe.yaml").is_file() else Path(f"{stem}-{name}")
    weights = "averaged weights (EMA)" if loaded.averaged else "weights without averaging"
    origin = f"from the {weights} at {loaded.images_seen:,} images"
    with explain_oom(f"{batch:,} images at a time", place, "give a smaller --batch"):
        if out is not None:
            with progress_bar("sampling") as report:
                write_samples(out, samples, loaded, report)
            console.message(f"{count:,} images {origin}: {out}")
        if grid is not None:
            write_grid(grid, samples, loaded, columns=columns or per_class)
            console.message(f"Grid {origin}: {grid}")
