"""`kennel export`: a run's generator as one file."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import typer

from kennel.cli import options
from kennel.cli.checks import refuse_unwritable
from kennel.cli.newest import or_newest

_copies = partial(typer.Option, rich_help_panel="Copies of training images")

LARGE = 20_000_000
"""Bytes; for larger float32 files `--dtype float16` is suggested."""


def export(
    run: options.RunArgument = None,
    out: Path | None = typer.Option(
        None, help="The file to write (default: in exports/ in the run's folder)."
    ),
    format_: str | None = typer.Option(
        None,
        "--format",
        help="safetensors (weights, for kennel), onnx or torch-export (a graph, without kennel); default: by "
        "--out's name, else safetensors.",
    ),
    dtype: str | None = typer.Option(
        None, help="float16, bfloat16 or float32: the type of matrices and kernels (default: float16)."
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
    guard_count: int | None = _copies(
        None,
        min=0,
        help="Samples that are compared with the training images (default: 10,000, or as many as take half a "
        "minute); 0: none.",
    ),
    reference: Path | None = _copies(None, help="The run's training set, if it has moved."),
    guard_extractor: str = _copies("pixels", help="Compares samples with training images."),
    accept_copies: bool = _copies(
        False, "--accept-copies", help="Export even if more than 3% of the samples are copies."
    ),
) -> None:
    """Write a run's generator as one file: weights or a graph, recipe, classes, scores and a model card.

    The file contains no training image. `kennel sample FILE` and `kennel judge FILE` take a .safetensors file
    like a run; ONNX Runtime and others draw from an .onnx file, and torch from a .pt2 file.

    Example: kennel export runs/mine --out mine.safetensors
    """
    from kennel.cli.console import console
    from kennel.errors import RunError
    from kennel.sampling.export import ExportOptions, export
    from kennel.sampling.release_guard import GuardOptions
    from kennel.storage.atomic_io import write_text

    refuse_unwritable(out, "--out")
    refuse_unwritable(card, "--card")
    if out is not None and card is not None and out.resolve() == card.resolve():
        raise RunError(f"--out and --card are both {out}: give two names")
    given = ExportOptions(checkpoint, dtype, truncation, license_, data_note, format_)
    guard = GuardOptions(guard_count, reference, guard_extractor, accept_copies)
    with _progress() as report:
        result = export(or_newest(run), out, given, guard, report)
    about = result.metadata
    kind = "averaged weights (EMA)" if about.averaged else "weights without averaging"
    console.message(
        f"Generator, {kind}, at {about.images_seen:,} images, {about.dtype}, {result.size:,} bytes: "
        f"{result.path}"
    )
    _print_differences(result)
    _print_copies(result)
    if card is not None:
        write_text(card, result.card)
        console.message(f"Model card: {card}")
    if result.size > LARGE and result.path.suffix == ".safetensors" and about.dtype == "float32":
        console.message("--dtype float16 halves the file.")
    if not about.license and not about.data.note:
        console.message(
            "The file states no license and no terms of the training set: add --license and --data-note.",
            "yellow",
        )


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    """Yields `report(what, done, total)`, which prints each new task once and draws a bar."""
    from kennel.cli.console import error_console, progress_bar

    tasks: set[str] = set()
    with progress_bar("searching for copies") as bar:

        def report(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks.add(what)
                error_console.message(f"Searching for copies: {what}, {total:,} images")
            bar(done, total)

        yield report


def _print_differences(result: Any) -> None:
    """Prints how far the file's images are from the run's."""
    from kennel.cli.console import console
    from kennel.sampling.export import COMPARED_SAMPLES
    from kennel.sampling.exported_graph import CHECKED_SAMPLES

    if result.path.suffix == ".safetensors":
        levels = f"{result.max_difference} level{'' if result.max_difference == 1 else 's'}"
        console.message(
            f"Its pixels differ from the run's by at most {levels} of 255, {result.mean_difference:.3g} on "
            f"average (over {COMPARED_SAMPLES} samples)"
        )
    elif result.graph_difference is None:
        console.message(
            "The file was not checked: pip install 'kennel[onnx]' brings ONNX Runtime, which does it.",
            "yellow",
        )
    else:
        by = "ONNX Runtime" if result.path.suffix == ".onnx" else "torch.export.load"
        console.message(
            f"Checked with {by}: its images differ from the generator's by at most "
            f"{result.graph_difference:.2g} of the range from -1 to 1 (over {CHECKED_SAMPLES} samples)"
        )


def _print_copies(result: Any) -> None:
    """Prints what the search for copies found, and where its picture is."""
    from kennel.cli.console import console

    search = result.metadata.copies
    if search is None:
        console.message("Its samples were not compared with the training images (--guard-count 0).", "yellow")
        return
    console.message(
        f"Copies: {search.copies:,} of {search.count:,} samples ({100 * search.share:.3g}%) are too near to "
        f"one of {search.training_count:,} training images by {search.extractor} (more than "
        f"{100 * search.limit:g}% are refused)",
        "yellow" if search.share > search.limit else "",
    )
    console.message(f"The nearest pairs, with training images: {result.nearest}")
