"""`kennel export`: a run's generator as one file."""

from pathlib import Path

import typer

from kennel.cli import options
from kennel.cli.checks import refuse_unwritable
from kennel.cli.newest import or_newest

LARGE = 20_000_000
"""Bytes; for larger float32 files `--dtype float16` is suggested."""


def export(
    run: options.RunArgument = None,
    out: Path | None = typer.Option(
        None, help="The .safetensors file to write (default: in exports/ in the run's folder)."
    ),
    dtype: str = typer.Option(
        "float16", help="float16, bfloat16 or float32: the type of matrices and kernels."
    ),
    checkpoint: str = typer.Option("newest", help="newest, best, epoch:N, or a number of images."),
    truncation: float | None = typer.Option(None, help="Default truncation of samples from the file."),
    license_: str = typer.Option(
        "", "--license", help="License of the weights: an SPDX identifier or a text."
    ),
    data_note: str = typer.Option(
        "", "--data-note", help="Description and terms of the training set (default: those of a known set)."
    ),
    card: Path | None = typer.Option(None, help="Also write the model card to this .md file."),
) -> None:
    """Write a run's generator as one file: weights, recipe, classes, scores and a model card.

    The file contains no training image. `kennel sample FILE` and `kennel judge FILE` take it like a run.

    Example: kennel export runs/mine --out mine.safetensors
    """
    from kennel.cli.console import console
    from kennel.errors import RunError
    from kennel.sampling.export import COMPARED_SAMPLES, ExportOptions, export
    from kennel.storage.atomic_io import write_text

    refuse_unwritable(out, "--out")
    refuse_unwritable(card, "--card")
    if out is not None and card is not None and out.resolve() == card.resolve():
        raise RunError(f"--out and --card are both {out}: give two names")
    result = export(or_newest(run), out, ExportOptions(checkpoint, dtype, truncation, license_, data_note))
    about = result.metadata
    kind = "averaged weights (EMA)" if about.averaged else "weights without averaging"
    console.message(
        f"Generator, {kind}, at {about.images_seen:,} images, {dtype}, {result.size:,} bytes: {result.path}"
    )
    levels = f"{result.max_difference} level{'' if result.max_difference == 1 else 's'}"
    console.message(
        f"Its pixels differ from the run's by at most {levels} of 255, {result.mean_difference:.3g} on "
        f"average (over {COMPARED_SAMPLES} samples)"
    )
    if card is not None:
        write_text(card, result.card)
        console.message(f"Model card: {card}")
    if result.size > LARGE and dtype == "float32":
        console.message("--dtype float16 halves the file.")
    if not about.license and not about.data.note:
        console.message(
            "The file states no license and no terms of the training set: add --license and --data-note.",
            "yellow",
        )
