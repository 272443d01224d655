"""`kennel sample`: draw images from a generator, as a grid, a folder, a zip, an npz, or a moving picture."""

from functools import partial
from pathlib import Path

import typer

from kennel.cli import options
from kennel.cli.newest import or_newest
from kennel.cli.sample_options import SampleOptions

_output = partial(typer.Option, rich_help_panel="Output")
_classes = partial(typer.Option, rich_help_panel="Classes")
_generator = partial(typer.Option, rich_help_panel="Generator")
_moving = partial(typer.Option, rich_help_panel="Moving pictures (--out FILE.gif, .webp, .apng or .mp4)")
_picture = partial(typer.Option, rich_help_panel="Other pictures (--out FILE.png)")


def sample(
    run: Path | None = typer.Argument(
        None,
        metavar="RUN",
        help="A run's folder (default: the newest in runs/), a .safetensors file of `kennel export`, or a "
        "name of `kennel fetch`.",
    ),
    count: int | None = typer.Option(
        None, min=1, help="Number of images (default: 64), or of cells of a moving picture (1; --sweep: 16)."
    ),
    seed: int | None = typer.Option(
        None, min=0, show_default=False, help="The first seed; image i has seed SEED + i (default: 0)."
    ),
    keep: str | None = typer.Option(None, metavar="SEEDS", help="Draw only these seeds: 3,17,40 or 0:9."),
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
    labels: bool = _output(False, "--labels", help="Write seeds (and classes) under the grid's images."),
    out: Path | None = _output(
        None, help="Write the samples: a folder of PNGs, a .zip of them, or an .npz; or the picture below."
    ),
    interpolate: str | None = _moving(None, metavar="SEEDS", help="Walk from seed to seed: 0:9 or 3,17,40."),
    morph: str | None = _moving(None, metavar="A:B[:C]", help="Walk from class to class with one seed."),
    sweep: str | None = _moving(
        None, metavar="truncation", help="The same seeds at decreasing truncation, down to --truncation."
    ),
    frames: int | None = _moving(
        None, min=1, help="Frames from one seed or class to the next (default: 30), or of a sweep (60)."
    ),
    fps: int | None = _moving(None, min=1, max=120, help="Frames per second (default: 30)."),
    no_loop: bool = _moving(False, "--no-loop", help="Do not return to the first frame; play once."),
    mix: tuple[str, str] | None = _picture(
        None, metavar="SEEDS SEEDS", help="StyleGAN2: style mixing of rows and columns, such as 0:3 4:9."
    ),
    mix_from: str | None = _picture(
        None, help="The columns' layers: coarse, middle or fine (default: coarse)."
    ),
    like: Path | None = _picture(
        None, metavar="IMAGE", help="Find the generator's image that is nearest to this one."
    ),
    steps: int | None = _picture(None, min=1, help="Steps of gradient descent of --like (default: 200)."),
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
    given = SampleOptions(**{name: value for name, value in locals().items() if name != "run"})
    given.refuse_others()
    from kennel.cli.sample_grid import sample_grid
    from kennel.cli.sample_pictures import refuse_output, sample_picture
    from kennel.engine.builder import pick_device
    from kennel.sampling.resolve import load_generator
    from kennel.training.oom import explain_oom

    run = or_newest(run)
    place = pick_device(device)
    if given.mode is None:
        given.refuse_contradictions()
    else:
        refuse_output(given)
    loaded = load_generator(run, checkpoint, place, averaged=not playing)
    with explain_oom(f"{batch:,} images at a time", place, "give a smaller --batch"):
        if given.mode is None:
            sample_grid(run, loaded, given)
        else:
            sample_picture(run, loaded, given)
