"""Options that several commands share."""

from pathlib import Path
from typing import Annotated, Any

import typer

BUDGET, RECIPE, MACHINE = "Budget (one of them)", "Recipe", "Device and speed"
"""Sections of the options in the help."""

PlannedRecipe = Annotated[
    str | None,
    typer.Argument(
        metavar="RECIPE",
        show_default=False,
        help="A built-in recipe (see `kennel recipes`), or a recipe.yaml.",
    ),
]
PlannedData = Annotated[
    str | None,
    typer.Argument(metavar="DATA", show_default=False, help="A packed set, made by `kennel data prepare`."),
]
FirstWord = Annotated[
    str | None,
    typer.Argument(
        metavar="RECIPE",
        show_default=False,
        help="A built-in recipe (see `kennel recipes`), a recipe.yaml, or auto: chosen and sized for the "
        "set, the device and the hours. A resumed run keeps its recipe.  [default: auto]",
    ),
]
SecondWord = Annotated[
    str | None,
    typer.Argument(
        metavar="DATA",
        show_default=False,
        help="A packed set of `kennel data prepare`, or a folder, zip or tar of images or a known set, which "
        "are prepared first and kept in the cache.",
    ),
]
RecipeOption = Annotated[str | None, typer.Option("--recipe", help="RECIPE, as an option.")]
DataOption = Annotated[Path | None, typer.Option("--data", help="DATA, as an option.")]
Settings = Annotated[
    list[str],
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change the recipe: batch_size=32, techniques.ema=off, ...",
        rich_help_panel=RECIPE,
    ),
]
Images = Annotated[
    str | None,
    typer.Option(
        help="Budget in images shown to the discriminator, such as 500k or 2M.", rich_help_panel=BUDGET
    ),
]
Epochs = Annotated[float | None, typer.Option(help="Budget in passes over the set.", rich_help_panel=BUDGET)]
Hours = Annotated[
    float | None,
    typer.Option(
        metavar="H", help="Budget in hours of training; the speed is measured first.", rich_help_panel=BUDGET
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(
        help="Seed of weights, order and noise (default: the recipe's, which is 0).", rich_help_panel=RECIPE
    ),
]
Device = Annotated[
    str,
    typer.Option(
        help="auto, cpu, cuda, cuda:1, mps; under torchrun, cuda is one GPU per process.",
        rich_help_panel=MACHINE,
    ),
]
Compute = Annotated[
    str,
    typer.Option(
        help="auto, plain, float32, bfloat16, compiled: see docs/performance.md.", rich_help_panel=MACHINE
    ),
]
Weights = Annotated[
    Path | None, typer.Option(help="Weights file of the validation extractor.", rich_help_panel=RECIPE)
]
DeviceCache = Annotated[
    str,
    typer.Option(
        help="Keep the set on the device: always, never, up to a size such as 8G, or auto.",
        rich_help_panel=MACHINE,
    ),
]
Classes = Annotated[
    str | None,
    typer.Option(
        help="Distribution of the classes: data (as in the training set) or uniform (default: as in the "
        "run's recipe, data)."
    ),
]


RunArgument = Annotated[
    Path | None, typer.Argument(metavar="RUN", help="A run's folder (default: the newest in runs/).")
]


def seed_settings(seed: int | None) -> list[str]:
    return [] if seed is None else [f"seed={seed}"]


def class_sampling(given: str | None) -> Any:
    """Returns the `ClassSampling` for `--classes`; raises `UnknownNameError` for another word."""
    from typing import get_args

    from kennel.config.recipe import ClassSampling
    from kennel.registry import unknown_name

    if given is not None and given not in get_args(ClassSampling):
        raise unknown_name("way of drawing classes", given, get_args(ClassSampling))
    return given
