"""`kennel timelapse`: the sample grids of a run as a moving picture."""

from pathlib import Path

import typer

from kennel.cli import options
from kennel.cli.checks import refuse_unwritable
from kennel.cli.newest import or_newest


def timelapse(
    run: options.RunArgument = None,
    out: Path | None = typer.Option(
        None, help="The .gif, .webp, .apng or .mp4 to write (default: samples/timelapse.gif in the run)."
    ),
    fps: int = typer.Option(4, min=1, max=120, help="Grids per second; the last one is shown 2 s longer."),
) -> None:
    """Show the same latents through training: the run's sample grids as a moving picture.

    Example: kennel timelapse runs/mine --out timelapse.gif
    """
    from kennel.cli.console import console
    from kennel.sampling.animation import refuse_format
    from kennel.sampling.timelapse import timelapse

    run = or_newest(run)
    refuse_unwritable(out, "--out")
    file = out or run / "samples" / "timelapse.gif"
    refuse_format(file, fps)
    animation = timelapse(run, fps)
    animation.save(file)
    console.message(f"{len(animation):,} frames, {len(animation) / fps:.1f} s: {file}")
