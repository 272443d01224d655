"""The training of a class-conditional generator for a set, as `kennel expand` does without `--run`."""

from collections.abc import Sequence
from pathlib import Path

import torch

from kennel.data.prepare.cached import source_name
from kennel.runs.newest import RUNS
from kennel.training.auto_recipe import AUTO
from kennel.training.request import TrainRequest, budget_settings

BY_CLASS = ("num_classes=null", "balance_classes=true")
"""Settings of a named recipe, before those of the user; a chosen recipe has them already."""


def generator_request(
    data: Path,
    recipe: str,
    *,
    run: Path | None = None,
    settings: Sequence[str] = (),
    images: str | int | None = None,
    epochs: float | None = None,
    hours: float | None = None,
    device: torch.device,
    weights: Path | None = None,
) -> TrainRequest:
    """The request of a run that draws the classes of the packed set `data`, by default `runs/expand-SET`.

    "auto" chooses a recipe that draws by class; every class is shown equally often. The same request again
    continues the run.
    """
    return TrainRequest(
        recipe,
        data,
        run or RUNS / f"expand-{source_name(data)}",
        None,
        [*(() if recipe == AUTO else BY_CLASS), *settings],
        budget_settings(images, epochs, hours),
        hours,
        device,
        weights,
        by_class=True,
    )
