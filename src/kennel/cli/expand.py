"""`kennel expand`: fill up the classes of a set with generated images."""

from functools import partial
from pathlib import Path
from typing import Any

import typer

from kennel.cli import options

_training = partial(typer.Option, rich_help_panel="Training, without --run")
_copies = partial(typer.Option, rich_help_panel="Copies")
_generator = partial(typer.Option, rich_help_panel="Generator")


def expand(
    data: Path = typer.Argument(metavar="DATA", help="A packed set with classes."),
    to: int = typer.Option(..., "--to", min=1, help="Images that every class has in the end, at least."),
    run: Path | None = _generator(
        None,
        help="A run by class of this set, a .safetensors file of `kennel export`, or a fetched name "
        "(default: train one in runs/expand-DATA; the same command again resumes).",
    ),
    out: Path | None = typer.Option(None, help="The packed set to create (DATA-toN)."),
    recipe: str = _training("auto", help="A recipe or a recipe.yaml; auto chooses one that draws by class."),
    images: options.Images = None,
    epochs: options.Epochs = None,
    hours: options.Hours = None,
    settings: options.Settings = [],  # noqa: B006 - typer passes a new list
    seed: int = _generator(0, min=0, help="The first seed of the generated images."),
    checkpoint: str = _generator("newest", help="Of --run: newest, best, epoch:N, or a number of images."),
    truncation: float | None = _generator(None, help="As in `kennel sample`."),
    extractor: str = _copies(
        "auto", help="Compares images with training images (pixels up to 32 pixels, else the best available)."
    ),
    quantile: float = _copies(
        0.01, help="Reject an image that is as near to a training image as this share of them are."
    ),
    max_rejected: float = _copies(0.5, help="Stop if more than this share of a class is rejected."),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace a packed set at --out when done."),
    device: options.Device = "auto",
    weights: options.Weights = None,
) -> None:
    """Fill up small classes of a set with generated images, marked as such; no copies of real ones.

    Example: kennel expand sets/mine --to 1000 --hours 1
    """
    from kennel.cli.console import console, error_console
    from kennel.data.dataset import ImageDataset
    from kennel.distributed.devices import training_device
    from kennel.engine.builder import pick_device
    from kennel.expansion.gaps import check_destination, few_note, missing_images
    from kennel.expansion.request import generator_request

    dataset = ImageDataset(data)
    gaps = missing_images(dataset, to)
    if not gaps:
        console.message(f"Nothing is to be done: every class of {data} has {to:,} images or more.")
        return
    destination = out or data.with_name(f"{data.resolve().name}-to{to}")
    check_destination(destination, dataset, overwrite)
    if note := few_note(gaps):
        error_console.message(f"Note: {note}")
    place = training_device(pick_device(device))
    if run is None:
        request = generator_request(
            data,
            recipe,
            settings=settings,
            images=images,
            epochs=epochs,
            hours=hours,
            device=place,
            weights=weights,
        )
        _train(request)
        run = request.run
    else:
        _refuse_training_options(recipe, images, epochs, hours, settings)
    loaded = _generator_of(run, checkpoint, place, dataset)
    copies = (extractor, quantile, max_rejected)
    _write(dataset, gaps, loaded, destination, copies, seed, truncation, place)


def _train(request: Any) -> None:
    from kennel.cli.train import BY_SIGNAL, train_request

    stopped_by = train_request(request)
    if stopped_by is not None:
        raise typer.Exit(BY_SIGNAL + stopped_by)


def _refuse_training_options(
    recipe: str, images: str | None, epochs: float | None, hours: float | None, settings: list[str]
) -> None:
    """Raises `RunError` for options of a training that does not take place."""
    from kennel.errors import RunError

    given = {
        "--recipe": recipe != "auto",
        "--images": images is not None,
        "--epochs": epochs is not None,
        "--hours": hours is not None,
        "--set": bool(settings),
    }
    for option, is_given in given.items():
        if is_given:
            raise RunError(f"{option} is for training a generator, and --run names a trained one: give one")


def _generator_of(run: Path, checkpoint: str, place: Any, dataset: Any) -> Any:
    from kennel.cli.console import error_console
    from kennel.expansion.gaps import check_generator
    from kennel.sampling.resolve import load_generator

    loaded = load_generator(run, checkpoint, place)
    check_generator(loaded, dataset, lambda text: error_console.message(f"Note: {text}", "yellow"))
    return loaded


def _write(
    dataset: Any,
    gaps: Any,
    loaded: Any,
    destination: Path,
    copies: tuple[str, float, float],
    seed: int,
    truncation: float | None,
    place: Any,
) -> None:
    """Writes the set, and prints what was drawn and rejected of each class."""
    from rich import box
    from rich.table import Table

    from kennel.cli.console import console, progress_bar
    from kennel.evaluation.copy_guard import guard_extractor
    from kennel.expansion.expand import GuardOptions, expand
    from kennel.training.oom import explain_oom

    network = guard_extractor(copies[0], dataset.shape[2], loaded.teacher, place)
    guard = GuardOptions(network, copies[1], copies[2])
    remedy = "give --device cpu, or a smaller --to"
    with explain_oom("the expansion", place, remedy), progress_bar("drawing") as report:
        found = expand(
            dataset, gaps, loaded, destination, guard, seed=seed, truncation=truncation, on_progress=report
        )
    table = Table(box=box.SIMPLE_HEAD)
    for column in ("class", "real", "generated", "rejected"):
        table.add_column(column, justify="left" if column == "class" else "right", overflow="fold")
    for one in found.classes:
        table.add_row(one.name, f"{one.real:,}", f"{one.generated:,}", f"{one.rejected:,}")
    console.print(table)
    rejected, drawn = sum(one.rejected for one in found.classes), found.dataset.generated_count
    console.message(
        f"{rejected:,} of {rejected + drawn:,} images were rejected: as near to a training image of "
        f"their class as {100 * copies[1]:g}% of the real images are to another one, by {network.name}, or "
        "repeated."
    )
    console.message(
        f"{destination}: {len(found.dataset):,} images, {drawn:,} of them generated (marked in generated.npy)"
    )
    console.message("Evaluate a model trained on this set with real images that are not in it.")
