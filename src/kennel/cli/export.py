"""`kennel export`: a run's generator as one file that others can sample from."""

from pathlib import Path

import typer

from kennel.cli.checks import refuse_unwritable
from kennel.cli.newest import or_newest

LARGE = 20_000_000
"""Bytes from which on smaller numbers are offered."""


def export(
    run: Path | None = typer.Argument(None, metavar="RUN", help="A run's folder (the newest in runs/)."),
    out: Path | None = typer.Option(
        None, help="The file to write, a .safetensors (default: in the run's folder, exports/)."
    ),
    dtype: str = typer.Option(
        "float16", help="float16, bfloat16 or float32: how matrices and kernels are stored."
    ),
    checkpoint: str = typer.Option("newest", help="newest, best, epoch:N, or a count of images."),
    truncation: float | None = typer.Option(
        None, help="What samples of the file are drawn with where --truncation is not given."
    ),
    license_: str = typer.Option("", "--license", help="Of the weights: an SPDX identifier, or words."),
    data_note: str = typer.Option(
        "", "--data-note", help="What the training set is, and its terms (default: those of a known set)."
    ),
    card: Path | None = typer.Option(None, help="Also write the model card, a .md file."),
) -> None:
    """Write a run's generator as one file: weights, recipe, classes, scores and a model card.

    No training image is in it. `kennel sample FILE` and `kennel judge FILE` take it like a run.

    Example: kennel export runs/mine --out mine.safetensors
    """
    from kennel.cli.console import console
    from kennel.errors import RunError
    from kennel.sampling.export import LOOKED_AT, Wanted, export
    from kennel.storage.atomic_io import write_text

    for file, option in ((out, "--out"), (card, "--card")):
        if file is not None:
            refuse_unwritable(file, option)
    if out is not None and card is not None and out.resolve() == card.resolve():
        raise RunError(f"--out and --card are both {out}: give two names")
    written = export(or_newest(run), out, Wanted(checkpoint, dtype, truncation, license_, data_note))
    kind = "averaged weights (EMA)" if written.words.averaged else "playing weights"
    console.print(
        f"Generator by the {kind} at {written.words.images_seen:,} images, {dtype}, {written.size:,} bytes: "
        f"{written.path}",
        soft_wrap=True,
    )
    levels = f"{written.furthest} level{'' if written.furthest == 1 else 's'}"
    console.print(
        f"Its pixels differ from the run's by at most {levels} of 255, {written.mean:.3g} on average (over "
        f"{LOOKED_AT} samples)",
        soft_wrap=True,
    )
    if card is not None:
        write_text(card, written.card)
        console.print(f"Model card: {card}", soft_wrap=True)
    if written.size > LARGE and dtype == "float32":
        console.print("--dtype float16 halves the file.", soft_wrap=True)
    if not written.words.license and not written.words.data.note:
        console.print(
            "It says nothing of its license or of its training set's terms: --license and --data-note do.",
            style="yellow",
            soft_wrap=True,
        )
