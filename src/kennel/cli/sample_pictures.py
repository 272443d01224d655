"""`kennel sample --interpolate`, `--morph`, `--sweep`, `--mix` and `--like`."""

from pathlib import Path
from typing import Any

from kennel.cli import options
from kennel.cli.checks import refuse_unwritable
from kennel.cli.sample_grid import default_file, origin
from kennel.cli.sample_options import SampleOptions


def sample_picture(run: Path, loaded: Any, given: SampleOptions) -> None:
    """Draws the picture of `given.mode` and writes it."""
    from kennel.sampling.sample_files import class_number

    label = None if given.class_ is None else class_number(given.class_, loaded)
    if given.mode == "--like":
        _like(run, loaded, given, label)
    elif given.mode == "--mix":
        _mix(run, loaded, given, label)
    else:
        _move(run, loaded, given, label)


def refuse_output(given: SampleOptions) -> None:
    """Raises `RunError` or `DataError` if `--out` cannot be written; before the generator is loaded."""
    from kennel.sampling.animation import refuse_format
    from kennel.sampling.pictures import refuse_other_than_png

    refuse_unwritable(given.out, "--out")
    if given.out is not None and given.mode in ("--mix", "--like"):
        refuse_other_than_png(given.out, "--out a name")
    elif given.out is not None:
        refuse_format(given.out, given.fps or 30)


def _move(run: Path, loaded: Any, given: SampleOptions, label: int | None) -> None:
    from kennel.cli.console import console, progress_bar

    animation, name = _animation(loaded, given, label)
    out = given.out or default_file(run, f"{name[:80]}.gif")
    with progress_bar("drawing") as report:
        animation.save(out, report)
    seconds = len(animation) / animation.fps
    console.message(f"{len(animation):,} frames, {seconds:.1f} s, {origin(loaded)}: {out}")


def _animation(loaded: Any, given: SampleOptions, label: int | None) -> tuple[Any, str]:
    """The moving picture and a name for it."""
    from kennel.errors import RunError
    from kennel.sampling.moving import MovieOptions, interpolation, morph, truncation_sweep
    from kennel.sampling.sample_files import class_number
    from kennel.sampling.seeds import parse_seeds

    seed = given.seed or 0
    movie = MovieOptions(
        frames=given.frames,
        fps=given.fps or 30,
        loop=not given.no_loop,
        count=given.count or (16 if given.sweep else 1),
        columns=given.columns,
        truncation=given.truncation,
        classes=options.class_sampling(given.classes),
        batch=given.batch,
    )
    if given.interpolate is not None:
        seeds = parse_seeds(given.interpolate, "--interpolate", 2)
        return interpolation(loaded, seeds, label, movie), f"walk-{given.interpolate}"
    if given.morph is not None:
        names = given.morph.split(":")
        if len(names) < 2:
            raise RunError(f"--morph {given.morph} is one class: give at least two, such as 3:7")
        labels = [class_number(name, loaded, "--morph") for name in names]
        return morph(loaded, labels, seed, movie), f"morph-{given.morph}-seed{seed}"
    return truncation_sweep(loaded, seed, label, movie), f"truncation-seed{seed}"


def _mix(run: Path, loaded: Any, given: SampleOptions, label: int | None) -> None:
    from kennel.cli.console import console
    from kennel.sampling.seeds import parse_seeds
    from kennel.sampling.style_mixing import style_mixing

    assert given.mix is not None
    rows, columns = (parse_seeds(seeds, "--mix") for seeds in given.mix)
    level = given.mix_from or "coarse"
    picture = style_mixing(loaded, rows, columns, level, label=label, truncation=given.truncation)
    name = f"mix-{level}-{given.mix[0]}-{given.mix[1]}"[:80]
    out = picture.save(given.out or default_file(run, f"{name}.png"))
    console.message(f"Styles of the columns in the {level} layers, {origin(loaded)}: {out}")


def _like(run: Path, loaded: Any, given: SampleOptions, label: int | None) -> None:
    from kennel.cli.console import console, progress_bar
    from kennel.sampling.likeness import LikeOptions, like

    assert given.like is not None
    settings = LikeOptions(steps=given.steps or 200, seed=given.seed or 0)
    with progress_bar("searching") as report:
        found = like(loaded, given.like, label, settings, report)
    out = found.save(given.out or default_file(run, f"like-{given.like.stem[:60]}.png"))
    label_words = "" if found.label is None else f", class {loaded.classes[found.label]}"
    console.message(
        f"Distance {found.distance:.4f} (pixels {found.pixel_distance:.4f}, features "
        f"{found.feature_distance:.4f}); the start, seed {found.seed}{label_words}, had "
        f"{found.start_distance:.4f}"
    )
    console.message(f"Given and found, {origin(loaded)}: {out}")
