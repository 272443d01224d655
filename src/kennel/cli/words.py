"""What `kennel train` and `kennel plan` are both told, in the same words."""

from pathlib import Path
from typing import Annotated

import typer

RecipeName = Annotated[
    str, typer.Argument(help="A built-in recipe (see `kennel recipes`), or a recipe.yaml.")
]
Data = Annotated[Path, typer.Option(help="A packed set, made by `kennel data prepare`.")]
Settings = Annotated[
    list[str],
    typer.Option("--set", metavar="KEY=VALUE", help="Change the recipe: batch=32, techniques.ema=off, ..."),
]
Images = Annotated[str | None, typer.Option(help="Budget in images shown to the discriminator: 500k, 2M.")]
Epochs = Annotated[float | None, typer.Option(help="Budget in passes over the set.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps; under torchrun cuda is a GPU each.")]
Speed = Annotated[str, typer.Option(help="auto, plain, float32, bfloat16, compiled: see docs/speed.md.")]
Weights = Annotated[Path | None, typer.Option(help="Weights file of the validation's extractor.")]
Resident = Annotated[
    str, typer.Option(help="Hold the set on the device: always, never, up to a size such as 8G, or auto.")
]
